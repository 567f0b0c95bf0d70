//! A case: a statement of the standard, and a check from outside.

use super::context::TestContext;
use super::finding::Checked;
use super::version::MqttVersion;

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// The number of the statement in each version that has it, without `MQTT-`.
    v3: Option<&'static str>,
    v5: Option<&'static str>,
    /// The checked statement as a sentence of our own.
    pub(crate) sentence: &'static str,
    pub(crate) check: fn(&TestContext<'_>) -> Checked,
}

impl Case {
    /// A case for both versions, with these numbers.
    pub(crate) const fn both(
        v3: &'static str,
        v5: &'static str,
        sentence: &'static str,
        check: fn(&TestContext<'_>) -> Checked,
    ) -> Self {
        let (v3, v5) = (Some(v3), Some(v5));
        Self {
            v3,
            v5,
            sentence,
            check,
        }
    }

    /// A case for MQTT 3.1.1 only.
    pub(crate) const fn v3(
        number: &'static str,
        sentence: &'static str,
        check: fn(&TestContext<'_>) -> Checked,
    ) -> Self {
        Self {
            v3: Some(number),
            v5: None,
            sentence,
            check,
        }
    }

    /// A case for MQTT 5 only.
    pub(crate) const fn v5(
        number: &'static str,
        sentence: &'static str,
        check: fn(&TestContext<'_>) -> Checked,
    ) -> Self {
        Self {
            v3: None,
            v5: Some(number),
            sentence,
            check,
        }
    }

    /// The number of the statement in this version, if it has one.
    pub(crate) fn number(&self, version: MqttVersion) -> Option<&'static str> {
        match version {
            MqttVersion::V3 => self.v3,
            MqttVersion::V5 => self.v5,
        }
    }
}
