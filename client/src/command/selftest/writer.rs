//! Writes fields of MQTT packets, valid or invalid as a case needs them.

/// The bytes written so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldWriter(pub(crate) Vec<u8>);

impl FieldWriter {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// A variable byte integer.
    pub(crate) fn variable(&mut self, mut value: u32) {
        while value > 0x7f {
            self.u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.u8(value as u8);
    }

    /// Bytes or text with their length before them.
    pub(crate) fn data(&mut self, data: &[u8]) {
        self.u16(data.len() as u16);
        self.bytes(data);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}
