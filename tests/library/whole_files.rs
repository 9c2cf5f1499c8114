//! Files whole or not at all, and read with a limit.

use bptt::internal::atomic::{read, remove_unfinished, write_atomically};
use std::path::Path;

#[test]
fn replaces_and_leaves_nothing_beside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    write_atomically(&path, b"old").unwrap();
    write_atomically(&path, b"new").unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_error_names_the_file_and_leaves_nothing_beside() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/a.txt");
    let error = write_atomically(&path, b"x").unwrap_err().to_string();
    assert!(error.contains("missing/a.txt"), "{error}");
    let error = write_atomically(folder.path(), b"x")
        .unwrap_err()
        .to_string();
    assert!(error.contains("no ordinary file"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn only_the_leftovers_of_a_file_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in [".tmp-a.txt-k3Jx", ".tmp-b.txt-k3Jx", "a.txt"] {
        std::fs::write(at(name), "x").unwrap();
    }
    remove_unfinished(&at("a.txt"));
    assert!(!at(".tmp-a.txt-k3Jx").exists());
    assert!(at(".tmp-b.txt-k3Jx").exists() && at("a.txt").exists());
}

#[test]
fn what_may_never_end_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    std::fs::write(&path, "12345").unwrap();
    assert_eq!(read(&path, 5).unwrap(), b"12345");
    assert!(read(&path, 4).unwrap_err().to_string().contains("5 bytes"));
    for path in [folder.path(), Path::new("/dev/zero")] {
        let error = read(path, 5).unwrap_err().to_string();
        assert!(error.contains("no ordinary file"), "{error}");
    }
}

/// A file of a private umask stays private.
#[cfg(unix)]
#[test]
fn permissions_are_those_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (ours, any) = (folder.path().join("ours"), folder.path().join("any"));
    write_atomically(&ours, b"x").unwrap();
    std::fs::write(&any, b"x").unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(ours), mode(any));
}
