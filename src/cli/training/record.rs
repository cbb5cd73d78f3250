//! TensorBoard's messages in records of TensorFlow: `event.proto`, `summary.proto`, and
//! `lib/io/record_writer.h`.

use prost::{Message, Oneof};

/// A record's contents. Field numbers are those of `event.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    #[prost(int64, tag = "2")]
    pub step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// The status of a session that begins: TensorBoard forgets the events of its step and later ones.
pub const START: i32 = 1;

#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(string, tag = "1")]
    pub tag: String,
    #[prost(oneof = "Content", tags = "2, 4, 5")]
    pub content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Content {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Image(Image),
    #[prost(message, tag = "5")]
    Histogram(Histogram),
}

/// A PNG.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    #[prost(int32, tag = "1")]
    pub height: i32,
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// The number of channels.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub encoded: Vec<u8>,
}

/// Counts in buckets, each of which reaches from the limit before, or `min`, to its own.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    #[prost(double, tag = "1")]
    pub min: f64,
    #[prost(double, tag = "2")]
    pub max: f64,
    #[prost(double, tag = "3")]
    pub num: f64,
    #[prost(double, tag = "4")]
    pub sum: f64,
    #[prost(double, tag = "5")]
    pub sum_squares: f64,
    #[prost(double, repeated, tag = "6")]
    pub bucket_limit: Vec<f64>,
    #[prost(double, repeated, tag = "7")]
    pub bucket: Vec<f64>,
}

/// The bytes of a record: the length, its checksum, the message, its checksum.
pub fn encode(event: &Event) -> Vec<u8> {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    [&length[..], &sum(&length), &message, &sum(&message)].concat()
}

/// The records of a file, each with the place where it ends, up to the first that is not whole.
pub fn decode(bytes: &[u8]) -> impl Iterator<Item = (usize, Event)> {
    let mut place = 0;
    std::iter::from_fn(move || {
        let (length, rest) = bytes.get(place..)?.split_first_chunk::<8>()?;
        let len = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let message = rest.get(4..len.checked_add(4)?)?;
        let whole = rest[..4] == sum(length) && rest.get(len + 4..len + 8)? == sum(message);
        let event = Event::decode(message).ok().filter(|_| whole)?;
        place += 16 + len;
        Some((place, event))
    })
}

/// The masked CRC-32C.
fn sum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_up_to_the_first_that_is_not_whole() {
        let event =
            |step: i64| Event { wall_time: 1.5, step, what: Some(What::FileVersion("brain.Event:2".into())) };
        let bytes: Vec<u8> = (1..=3).flat_map(|step| encode(&event(step))).collect();
        let steps =
            |bytes: &[u8]| decode(bytes).map(|(place, event)| (place, event.step)).collect::<Vec<_>>();
        let len = bytes.len() / 3;
        assert_eq!(steps(&bytes), [(len, 1), (2 * len, 2), (3 * len, 3)]);
        for cut in 1..len {
            assert_eq!(steps(&bytes[..bytes.len() - cut]).len(), 2);
        }
        for place in 0..len {
            let mut damaged = bytes.clone();
            damaged[len + place] ^= 1;
            assert_eq!(steps(&damaged).len(), 1, "{place}");
        }
    }
}
