//! Reports as an event file that TensorBoard reads: [`EventFile`].
//!
//! The file is a row of records, each a protocol-buffer message `Event` in a frame of checksums:
//!
//! ```text
//! record  = u64 length | u32 masked(crc of the length) | event | u32 masked(crc of the event)
//! masked  = (crc >> 15 | crc << 17) + 0xa282ead8        crc: CRC-32C (Castagnoli); all little-endian
//! Event   = 1: double wall_time, 2: int64 step | 3: string file_version | 5: Summary
//! Summary = 1: repeated Value;  Value = 1: string tag, 2: float simple_value
//! ```

use bptt::export::wire::{bytes, double, float, number};
use bptt::train::Report;
use bptt::{Error, Result};
use crc::{CRC_32_ISCSI, Crc};
use fs_err::os::unix::fs::OpenOptionsExt;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

/// The name of the file: TensorBoard looks for `tfevents` in it.
const FILE: &str = "events.out.tfevents.bptt";

/// What the first record of every event file says.
const VERSION: &[u8] = b"brain.Event:2";

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// The numbers of the fields above.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const VALUE: u64 = 1;
const TAG: u64 = 1;
const SIMPLE_VALUE: u64 = 2;
/// How the field of the version begins: its number, and that it holds bytes.
const VERSION_KEY: u8 = (FILE_VERSION << 3 | 2) as u8;

/// Where an event's step begins: behind the time and the step's key.
const STEP_AT: usize = 10;

/// An event file that reports are added to.
pub struct EventFile(std::fs::File);

impl EventFile {
    /// The event file of `folder`, new or as a run with this history left it: events after the last report are cut off (a
    /// run that was killed wrote them after its last checkpoint), reports without an event get one, so that each is there
    /// once.
    pub fn open(folder: &Path, history: &[Report]) -> Result<Self> {
        let path = folder.join(FILE);
        let mut options = fs_err::OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        // In a folder from a stranger it may be a link to what is none of our business, or a pipe that never ends.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let mut file = options.open(&path)?.into_parts().0;
        let content = match file.metadata()?.is_file() {
            true => fs_err::read(&path)?,
            false => VERSION.to_vec(),
        };
        let last = history.last().map_or(0, |report| report.step);
        let problem = "is no event file of `bptt train`: move it away";
        let kept = kept(&content, last).ok_or_else(|| Error::file(path, problem));
        let (length, written) = kept?;
        file.set_len(length as u64)?;
        file.seek(SeekFrom::End(0))?;
        let mut events = EventFile(file);
        if length == 0 {
            events.append(&[], &bytes(FILE_VERSION, VERSION))?;
        }
        for report in history.iter().filter(|report| report.step > written) {
            events.write(report)?;
        }
        Ok(events)
    }

    /// Adds the event of a report. Names before a stroke share a panel.
    pub fn write(&mut self, report: &Report) -> Result<()> {
        let values = [
            ("loss/train", Some(report.train_loss)),
            ("loss/validation", report.valid_loss),
            ("train/accuracy", report.train_accuracy),
            ("optimisation/learning_rate", Some(report.lr)),
            ("optimisation/gradient_norm", Some(report.grad_norm)),
            ("tokens_per_second", Some(report.tokens_per_second)),
            ("epoch", Some(report.epoch)),
        ];
        let mut summary = Vec::new();
        let mut add = |tag: &str, value: f64| {
            let tag = bytes(TAG, tag.as_bytes());
            let value = float(SIMPLE_VALUE, value as f32);
            summary.extend(bytes(VALUE, &[tag, value].concat()));
        };
        let values = values.into_iter();
        let values = values.filter_map(|(tag, value)| Some((tag, value?)));
        values.for_each(|(tag, value)| add(tag, value));
        for (name, &value) in &report.valid_metrics {
            add(&name.replacen('_', "/", 1), value);
        }
        self.append(&number(STEP, report.step), &bytes(SUMMARY, &summary))
    }

    /// Adds a record: in one write, so that none is ever half there unless the disk is full.
    fn append(&mut self, step: &[u8], content: &[u8]) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = double(WALL_TIME, now.map_or(0.0, |since| since.as_secs_f64()));
        let event = [&now, step, content].concat();
        let length = (event.len() as u64).to_le_bytes();
        let [of_length, of_event] = [&length[..], &event].map(masked_checksum);
        Ok(self
            .0
            .write_all(&[&length[..], &of_length, &event, &of_event].concat())?)
    }
}

/// How many bytes of a file are whole records of steps up to `last`, and the last of these steps; `None` if the file is not
/// one of ours.
fn kept(bytes: &[u8], last: u64) -> Option<(usize, u64)> {
    let (mut length, mut step) = (0, 0);
    while let Some(event) = event(&bytes[length..]) {
        let is_version = event.get(STEP_AT - 1) == Some(&VERSION_KEY) && event.ends_with(VERSION);
        if is_version != (length == 0) {
            return None;
        }
        if length > 0 {
            let found = varint(event.get(STEP_AT..).filter(|bytes| !bytes.is_empty())?);
            if found > last {
                break;
            }
            step = found;
        }
        length += event.len() + 16;
    }
    (length > 0 || bytes.is_empty()).then_some((length, step))
}

/// The event of the first record, if that is whole.
fn event(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let event = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let end = rest[event.len()..].first_chunk::<4>()?;
    (masked_checksum(length) == *sum && masked_checksum(event) == *end).then_some(event)
}

/// Checksums are masked, for checksums of data that hold checksums are weak.
fn masked_checksum(bytes: &[u8]) -> [u8; 4] {
    let sum = CASTAGNOLI.checksum(bytes);
    sum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// What [`number`] wrote behind its key.
fn varint(bytes: &[u8]) -> u64 {
    let end = bytes.iter().position(|&byte| byte < 0x80).unwrap_or(0);
    let bits = bytes[..=end.min(8)].iter().rev();
    bits.fold(0, |value, &byte| value << 7 | u64::from(byte & 0x7f))
}
