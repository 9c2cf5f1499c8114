//! The encoding of protocol buffers: a message is a row of fields, each a key (its number, and how its content is encoded) and
//! the content. (Protocol Buffers, "Encoding".)

/// Seven bits a byte, the low ones first; the high bit says that more follow.
pub fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds a whole number.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that holds bytes: a text, or a message within a message.
pub fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    let key = varint(field << 3 | 2);
    [&key, &varint(content.len() as u64), content].concat()
}

/// A field that holds a number in single precision.
pub fn float(field: u64, value: f32) -> Vec<u8> {
    [varint(field << 3 | 5), value.to_le_bytes().to_vec()].concat()
}

/// A field that holds a number in double precision.
pub fn double(field: u64, value: f64) -> Vec<u8> {
    [varint(field << 3 | 1), value.to_le_bytes().to_vec()].concat()
}
