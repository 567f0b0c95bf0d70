//! Reads fields of MQTT packets; what the standard does not allow is [`Malformed`].

/// Why bytes are not a packet that a server may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) String);

/// Maximum bytes of a variable byte integer.
pub(super) const MAX_LENGTH_BYTES: usize = 4;

/// Bytes to read from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldReader<'a>(pub(crate) &'a [u8]);

impl<'a> FieldReader<'a> {
    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], Malformed> {
        let split = self.0.split_at_checked(count);
        let (taken, rest) = split.ok_or_else(|| Malformed(format!("{what} is cut off")))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn u8(&mut self, what: &str) -> Result<u8, Malformed> {
        Ok(self.take(1, what)?[0])
    }

    pub(crate) fn u16(&mut self, what: &str) -> Result<u16, Malformed> {
        let bytes = self.take(2, what)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn u32(&mut self, what: &str) -> Result<u32, Malformed> {
        let bytes = self.take(4, what)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A variable byte integer in its shortest form.
    pub(crate) fn variable(&mut self, what: &str) -> Result<u32, Malformed> {
        let mut value = 0;
        for index in 0..MAX_LENGTH_BYTES {
            let byte = self.u8(what)?;
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index > 0 {
                    return Err(Malformed(format!("{what} is longer than it needs to be")));
                }
                return Ok(value);
            }
        }
        Err(Malformed(format!("{what} is too long")))
    }

    pub(crate) fn data(&mut self, what: &str) -> Result<&'a [u8], Malformed> {
        let len = self.u16(what)?;
        self.take(len.into(), what)
    }

    pub(crate) fn text(&mut self, what: &str) -> Result<String, Malformed> {
        let data = self.data(what)?.to_owned();
        match String::from_utf8(data) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(Malformed(format!("{what} is not UTF-8, or has a null"))),
        }
    }

    pub(crate) fn id(&mut self, what: &str) -> Result<u16, Malformed> {
        match self.u16(what)? {
            0 => Err(Malformed(format!("the packet id of {what} is 0"))),
            id => Ok(id),
        }
    }
}
