//! Reports as an event file that TensorBoard reads: [`TensorBoard`].
//!
//! The file is a row of records, each a protocol-buffer message `Event` in a frame of checksums:
//!
//! ```text
//! record  = u64 length | u32 masked(crc of the length) | event | u32 masked(crc of the event)
//! masked  = (crc >> 15 | crc << 17) + 0xa282ead8        crc: CRC-32C (Castagnoli); all little-endian
//! Event   = 1: double wall_time, 2: int64 step, 3: string file_version | 5: Summary
//! Summary = 1: repeated Value;  Value = 1: string tag, 2: float simple_value
//! ```
//!
//! Knows reports and bytes; the clock is read for `wall_time` alone, TensorBoard's axis of time.

use super::{Observer, Report, Trainer};
use crate::{Error, Result, Scalar};
use crc::{CRC_32_ISCSI, Crc};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The name of the file: TensorBoard looks for `tfevents` in it.
const FILE: &str = "events.out.tfevents.bptt";

/// What the first record of every event file says.
const VERSION: &str = "brain.Event:2";

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// An observer that writes every report to an event file, for `tensorboard --logdir` and the folder or one above it.
///
/// ```no_run
/// # use bptt::train::{Trainer, tensorboard::TensorBoard};
/// # fn train(run: &mut Trainer<f32>) -> bptt::Result<()> {
/// let mut events = TensorBoard::open("runs/mine".as_ref(), run.history())?;
/// run.run(&mut events)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TensorBoard {
    path: PathBuf,
    file: std::fs::File,
}

impl TensorBoard {
    /// The event file of `folder`, new or as a run with this history left it: events after the last report are cut off (a
    /// run that was killed wrote them after its last checkpoint), reports without an event get one, so that each is there
    /// once.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder is not there or may not be written; [`Error::File`] if its event file is none.
    pub fn open(folder: &Path, history: &[Report]) -> Result<Self> {
        let path = folder.join(FILE);
        // In a folder from a stranger it may be a link to what is none of our business, or a pipe that never ends.
        if std::fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_file()) {
            let problem = "is no ordinary file (a link, a pipe or a device): move it away";
            return Err(Error::file(path, problem));
        }
        let mut options = fs_err::OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let (file, path) = options.open(path)?.into_parts();
        let mut events = TensorBoard { path, file };
        let last = history.last().map_or(0, |report| report.step);
        let (length, written) = events.kept(last)?;
        events.file.set_len(length)?;
        events.file.seek(SeekFrom::Start(length))?;
        if length == 0 {
            let mut version = Message::default();
            version
                .double(1, seconds_now())
                .bytes(3, VERSION.as_bytes());
            events.append(&version.0)?;
        }
        for report in history.iter().filter(|report| report.step > written) {
            events.write(report)?;
        }
        Ok(events)
    }

    /// Adds the event of a report.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, report: &Report) -> Result<()> {
        self.append(&event(report, seconds_now()))
    }

    /// How many bytes of the file are whole records of steps up to `last`, and the last of those steps.
    fn kept(&self, last: u64) -> Result<(u64, u64)> {
        let bytes = fs_err::read(&self.path)?;
        let (mut rest, mut step) = (&bytes[..], 0);
        while let Some((event, after)) = record(rest) {
            match step_of(event) {
                Some(found) if found <= last => step = found,
                Some(_) => break,
                None => {
                    let problem = "holds a record that is no event: move the file away";
                    return Err(Error::file(&self.path, problem));
                }
            }
            rest = after;
        }
        let length = (bytes.len() - rest.len()) as u64;
        if length == 0 && !bytes.is_empty() {
            let problem = "is no event file: move it away";
            return Err(Error::file(&self.path, problem));
        }
        Ok((length, step))
    }

    /// Adds a record: in one write, so that none is ever half there unless the disk is full.
    fn append(&mut self, event: &[u8]) -> Result<()> {
        Ok(self.file.write_all(&framed(event))?)
    }
}

impl<T: Scalar> Observer<T> for TensorBoard {
    fn report(&mut self, _: &Trainer<T>, report: &Report, _: bool) -> Result<()> {
        self.write(report)
    }
}

/// The message of a report. Names before a stroke share a panel.
fn event(report: &Report, wall_time: f64) -> Vec<u8> {
    let values = [
        ("loss/train", Some(report.train_loss)),
        ("loss/validation", report.valid_loss),
        ("optimisation/learning_rate", Some(report.lr)),
        ("optimisation/gradient_norm", Some(report.grad_norm)),
        ("tokens_per_second", Some(report.tokens_per_second)),
        ("epoch", Some(report.epoch)),
    ];
    let mut summary = Message::default();
    for (tag, value) in values {
        let Some(value) = value else { continue };
        let mut scalar = Message::default();
        scalar.bytes(1, tag.as_bytes()).float(2, value as f32);
        summary.bytes(1, &scalar.0);
    }
    let mut event = Message::default();
    event.double(1, wall_time).integer(2, report.step);
    event.bytes(5, &summary.0);
    event.0
}

fn seconds_now() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0.0, |since| since.as_secs_f64())
}

/// A record with its frame.
fn framed(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(event.len() + 16);
    record.extend(length);
    record.extend(masked_checksum(&length).to_le_bytes());
    record.extend(event);
    record.extend(masked_checksum(event).to_le_bytes());
    record
}

/// The first record's event, and what follows the record; `None` where it is not whole.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    if masked_checksum(length) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (event, rest) =
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    (masked_checksum(event) == u32::from_le_bytes(*sum)).then_some((event, rest))
}

/// Checksums are masked, for checksums of data that hold checksums are weak.
fn masked_checksum(bytes: &[u8]) -> u32 {
    let sum = CASTAGNOLI.checksum(bytes);
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The step of an event, 0 where it has none; `None` if the bytes are no message.
fn step_of(mut event: &[u8]) -> Option<u64> {
    let mut step = 0;
    while !event.is_empty() {
        let key = varint(&mut event)?;
        let (field, wire) = (key >> 3, key & 7);
        match wire {
            VARINT => {
                let value = varint(&mut event)?;
                if field == 2 {
                    step = value;
                }
            }
            FIXED64 => event = event.split_at_checked(8)?.1,
            BYTES => {
                let length = usize::try_from(varint(&mut event)?).ok()?;
                event = event.split_at_checked(length)?.1;
            }
            FIXED32 => event = event.split_at_checked(4)?.1,
            _ => return None,
        }
    }
    Some(step)
}

/// Seven bits a byte, the low ones first; the high bit says that more follow.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A protocol-buffer message in the making.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    fn double(&mut self, field: u64, value: f64) -> &mut Self {
        self.varint(field << 3 | FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(&mut self, field: u64, value: f32) -> &mut Self {
        self.varint(field << 3 | FIXED32);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, value: &[u8]) -> &mut Self {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(step: u64) -> Report {
        Report {
            step,
            epoch: 0.5,
            tokens: 100 * step,
            train_loss: 1.5,
            valid_loss: (step > 10).then_some(1.25),
            lr: 0.001,
            grad_norm: 0.75,
            divergences: 0,
            tokens_per_second: 1e6,
            communication_seconds: None,
        }
    }

    fn steps(folder: &Path) -> Vec<u64> {
        let bytes = std::fs::read(folder.join(FILE)).unwrap();
        let (mut rest, mut steps) = (&bytes[..], Vec::new());
        while let Some((event, after)) = record(rest) {
            steps.push(step_of(event).unwrap());
            rest = after;
        }
        assert!(rest.is_empty(), "{} bytes are no record", rest.len());
        steps
    }

    /// The frame and the message as TensorBoard 2.21 makes them (`RecordWriter`, `Event.SerializeToString`).
    #[test]
    fn bytes_are_those_of_tensorboards_writer() {
        let mut event = Message::default();
        event.double(1, 1.5).bytes(3, VERSION.as_bytes());
        let expected = b"\x18\0\0\0\0\0\0\0\xa3\x7fK\"\t\0\0\0\0\0\0\xf8?\x1a\rbrain.Event:2*(dl";
        assert_eq!(framed(&event.0), expected);
        let mut scalar = Message::default();
        scalar.bytes(1, b"loss").float(2, 0.5);
        let mut summary = Message::default();
        summary.bytes(1, &scalar.0);
        let mut event = Message::default();
        event.double(1, 1.5).integer(2, 300).bytes(5, &summary.0);
        let expected = b"\t\0\0\0\0\0\0\xf8?\x10\xac\x02*\r\n\x0b\n\x04loss\x15\0\0\0?";
        assert_eq!(event.0, expected);
        assert_eq!(step_of(&event.0), Some(300));
    }

    #[test]
    fn each_report_is_there_once_however_the_run_ended() {
        let folder = tempfile::tempdir().unwrap();
        let history: Vec<Report> = [10, 20, 30].into_iter().map(report).collect();
        let mut events = TensorBoard::open(folder.path(), &[]).unwrap();
        for report in &history {
            events.write(report).unwrap();
        }
        assert_eq!(steps(folder.path()), [0, 10, 20, 30]);
        // Killed after its checkpoint at 20, in the middle of a record.
        let path = folder.path().join(FILE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        TensorBoard::open(folder.path(), &history[..1]).unwrap();
        assert_eq!(steps(folder.path()), [0, 10]);
        // What was never written, as in a run that began without.
        TensorBoard::open(folder.path(), &history).unwrap();
        assert_eq!(steps(folder.path()), [0, 10, 20, 30]);
        let mut events = TensorBoard::open(folder.path(), &history).unwrap();
        events.write(&report(40)).unwrap();
        assert_eq!(steps(folder.path()), [0, 10, 20, 30, 40]);
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for content in [&b"my notes, longer than a frame"[..], &framed(b"\xff")] {
            std::fs::write(&path, content).unwrap();
            let error = TensorBoard::open(folder.path(), &[]).unwrap_err();
            assert!(error.to_string().contains(FILE), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
    }
}
