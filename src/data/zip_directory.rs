//! How many entries a zip archive says it has, before anybody makes a table of them.
//!
//! ```text
//! ... entries ... directory ... [zip64 end, 56 bytes] [zip64 locator, 20] [end, 22] comment
//! ```
//!
//! A directory entry of 46 bytes becomes a record many times as long, and of two entries of one name the table keeps the
//! last; the number in the end record tells both. (PKWARE's APPNOTE 4.3.14 to 4.3.16.)

use std::io::{self, Read, Seek, SeekFrom};

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: usize = 22;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_BYTES: u64 = 20;
const ZIP64_END: &[u8] = b"PK\x06\x06";
/// The longest comment behind the end record.
const LONGEST_COMMENT: u64 = 0xffff;

/// The number of entries; what is wrong where there is no end record.
pub(super) fn entries(file: &mut (impl Read + Seek), length: u64) -> Result<u64, String> {
    count(file, length)
        .map_err(|e| e.to_string())?
        .ok_or_else(|| "it has no end record: was it copied completely?".to_owned())
}

fn count(file: &mut (impl Read + Seek), length: u64) -> io::Result<Option<u64>> {
    let from = length.saturating_sub(END_BYTES as u64 + LONGEST_COMMENT);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(length - from).read_to_end(&mut tail)?;
    let is_end = |&at: &usize| {
        let rest = &tail[at..];
        rest.starts_with(END) && END_BYTES + usize::from(u16_at(rest, 20)) <= rest.len()
    };
    let last = (tail.len() + 1).saturating_sub(END_BYTES);
    let Some(at) = (0..last).rev().find(is_end) else {
        return Ok(None);
    };
    let short = u64::from(u16_at(&tail[at..], 8));
    let Some(locator_at) = (from + at as u64).checked_sub(LOCATOR_BYTES) else {
        return Ok(Some(short));
    };
    let mut locator = [0; LOCATOR_BYTES as usize];
    file.seek(SeekFrom::Start(locator_at))?;
    file.read_exact(&mut locator)?;
    if !locator.starts_with(LOCATOR) {
        return Ok(Some(short));
    }
    let mut end = [0; 40];
    file.seek(SeekFrom::Start(u64_at(&locator, 8)))?;
    match file.read_exact(&mut end) {
        Ok(()) if end.starts_with(ZIP64_END) => Ok(Some(u64_at(&end, 32))),
        // It points nowhere.
        _ => Ok(None),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let (chunk, _) = bytes[at..].split_first_chunk().expect("long enough");
    u64::from_le_bytes(*chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use zip::write::SimpleFileOptions;

    fn archive(names: &[&str], comment: &str) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for name in names {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        }
        zip.set_comment(comment);
        zip.finish().unwrap().into_inner()
    }

    fn found(bytes: &[u8]) -> Result<u64, String> {
        entries(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn entries_are_counted_whatever_the_comment() {
        for comment in ["", "a comment", &"x".repeat(0xffff)] {
            assert_eq!(found(&archive(&["a", "b", "c"], comment)), Ok(3));
        }
        assert_eq!(found(&archive(&[], "")), Ok(0));
    }

    #[test]
    fn the_long_form_counts_where_there_is_one() {
        let mut bytes = archive(&["a"], "");
        let end = bytes.split_off(bytes.len() - END_BYTES);
        let at = bytes.len() as u64;
        let mut long = [ZIP64_END, &44u64.to_le_bytes(), &[0; 20]].concat();
        long.extend(77u64.to_le_bytes());
        long.resize(56, 0);
        let locator = |to: u64| [LOCATOR, &[0; 4], &to.to_le_bytes(), &[1, 0, 0, 0]].concat();
        assert_eq!(
            found(&[&bytes[..], &long, &locator(at), &end].concat()),
            Ok(77)
        );
        for nowhere in [0, at + 1, u64::MAX] {
            assert!(found(&[&bytes[..], &long, &locator(nowhere), &end].concat()).is_err());
        }
    }

    #[test]
    fn without_an_end_there_is_no_archive() {
        let bytes = archive(&["a", "b"], "");
        for length in 0..bytes.len() {
            assert!(found(&bytes[..length]).is_err(), "{length}");
        }
        assert!(found(&[0; 100_000]).is_err());
    }
}
