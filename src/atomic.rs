//! Whole files: written all or not at all, read with a limit.

use crate::{Error, Result};
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Replaces `path` by `content`: written beside it, synced, then renamed, so that at any moment the
/// file is the old one or the new one, even if the program is killed or the power fails. An error names the file.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    replace(path, |file| file.write_all(content))
}

/// [`write_atomically`] of what `write` writes; its errors, too, are given the name of the file.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    write_beside(path, write).map_err(|error| {
        // Nobody is to look for the unfinished file.
        let text = error.to_string();
        let reason = text.split(" at path \"").next().unwrap_or_default();
        let text = format!("cannot write {}: {reason}", path.display());
        Error::Io(io::Error::new(error.kind(), text))
    })
}

fn write_beside(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    check_replaceable(path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (mut builder, prefix) = (tempfile::Builder::new(), unfinished(path));
    // A temporary file is private to its owner; a result has the permissions of any new file.
    let permissions = std::fs::Permissions::from_mode(0o666);
    builder.prefix(&prefix).permissions(permissions);
    let (mut file, unfinished) = builder.tempfile_in(folder)?.into_parts();
    write(&mut file)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    // It has its name now; nothing is left to remove.
    let _ = unfinished.keep();
    sync_folder(folder)
}

/// Whether a file can be put in the place of what is at a path: a rename would replace a device such as /dev/null too.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => {
            let problem = format!("{} is there and no ordinary file", path.display());
            Err(io::Error::other(problem))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable: a file that was created or renamed there is there after a power failure once this has
/// returned. File systems that cannot do so for folders are left alone.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => Err(error),
        _ => Ok(()),
    }
}

/// What the name of a file begins with while it is being written.
fn unfinished(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    format!(".tmp-{}-", name.to_string_lossy())
}

/// Removes what a killed program left of writing `path`. To be called only where nobody else writes it.
pub fn remove_unfinished(path: &Path) {
    let (Some(folder), prefix) = (path.parent(), unfinished(path)) else {
        return;
    };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // What cannot be removed does no harm.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What there is at a path; an error has the path in its words.
pub fn metadata(path: &Path) -> io::Result<Metadata> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    std::fs::metadata(path).map_err(named)
}

/// Opens an ordinary file, no folder, pipe or device, which may never end; says how long it is.
pub fn open_ordinary(path: &Path) -> Result<(fs_err::File, u64)> {
    let meta = metadata(path)?;
    if !meta.is_file() {
        let problem = "is no ordinary file (a folder, a pipe or a device), expected one";
        return Err(Error::file(path, problem));
    }
    Ok((fs_err::File::open(path)?, meta.len()))
}

/// The content of an ordinary file, if it has no more than `most` bytes.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let (file, length) = open_ordinary(path)?;
    if length > most {
        let problem = format!("has {length} bytes, expected at most {most}");
        return Err(Error::file(path, problem));
    }
    let mut content = Vec::new();
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}
