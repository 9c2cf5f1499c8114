//! Sets that stay in their file: the windows of one in memory, checked to the last row.

use super::*;

/// Bytes of inputs and targets that are checked at a time.
const CHUNK: usize = 16 << 20;

/// A set of floats of this type, and larger than a chunk.
fn large<A: WritableElement>(number: impl Fn(f64) -> A) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.npz");
    let (n, t, n_x) = (CHUNK / 4 / 700 + 3, 7, 100);
    let x = Array3::from_shape_fn((n, t, n_x), |(i, j, k)| {
        number((i + 3 * j + k) as f64 / 8.0)
    });
    let y = Array2::from_shape_fn((n, t), |(i, j)| ((i + j) % 5) as u8);
    let mut npz = NpzWriter::new(File::create(&path).unwrap());
    npz.add_array("inputs", &x).unwrap();
    npz.add_array("targets", &y).unwrap();
    npz.finish().unwrap();
    (folder, path)
}

fn same_as_in_memory<T: Scalar>(path: &Path) {
    let stored = Sequences::<T>::open_npz(path, None).unwrap();
    assert!(stored.stays_in_file() && !stored.reads_tokens());
    assert!(Sequences::<T>::open_npz_memory(path).unwrap() < 11.0 * CHUNK as f64);
    let memory = Sequences::<T>::read_npz(path).unwrap();
    assert_eq!((stored.dims(), memory.dims()), ((100, 5), (100, 5)));
    let (stored, _) = stored.split(0.3, 4).unwrap();
    let (memory, _) = memory.split(0.3, 4).unwrap();
    let loader = |set| Loader::<T>::sequences(set, 50, Some(3), 9).unwrap();
    let (mut stored, mut memory) = (loader(stored), loader(memory));
    for _ in 0..9 {
        let (stored, memory) = (stored.next().unwrap().batch, memory.next().unwrap().batch);
        assert_eq!(format!("{stored:?}"), format!("{memory:?}"));
    }
}

#[test]
fn windows_are_those_of_a_set_in_memory() {
    let (_folder, path) = large(|x| x as f32);
    same_as_in_memory::<f32>(&path);
    same_as_in_memory::<f64>(&path);
    let (_folder, path) = large(|x| x);
    same_as_in_memory::<f32>(&path);
    same_as_in_memory::<f64>(&path);
}

#[test]
fn numbers_are_checked_to_the_last_row() {
    let (_folder, path) = large(|x| x as f32);
    let last = Sequences::<f32>::open_npz(&path, None).unwrap().len() - 1;
    let highest = (last + 3 * 6 + 99) as f64 / 8.0;
    let (_folder, path) = large(|x| if x == highest { f32::NAN } else { x as f32 });
    let error = Sequences::<f32>::open_npz(&path, None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("NaN at [{last}, 6, 99]")),
        "{error}"
    );
}

#[test]
fn other_sizes_are_refused() {
    let (_folder, path) = large(|x| x as f32);
    let set = Sequences::<f32>::open_npz(&path, None).unwrap();
    set.check(Input::Features(100), Head::softmax(5)).unwrap();
    set.check(Input::Features(100), Head::softmax(6)).unwrap();
    for (n_x, n_y, expected) in [
        (101, 5, "expected [N, T, 101]"),
        (100, 4, "targets: ids up to 4, expected less than 4"),
    ] {
        let error = set
            .check(Input::Features(n_x), Head::softmax(n_y))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// One bit of a number that is as good as the other.
#[test]
fn a_damaged_file_is_found_out_by_its_checksum() {
    let (_folder, path) = large(|x| x as f32);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[CHUNK + 5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Sequences::<f32>::open_npz(&path, None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("array `inputs`: its bytes have another checksum"),
        "{error}"
    );
    assert!(Sequences::<f32>::read_npz(&path).is_err());
}

#[test]
fn a_file_that_was_changed_is_named() {
    let (_folder, path) = large(|x| x as f32);
    let set = Sequences::<f32>::open_npz(&path, None).unwrap();
    let mut loader = Loader::sequences(set, 64, None, 0).unwrap();
    loader.next().unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let error = loader.next().unwrap_err().to_string();
    assert!(
        error.contains("set.npz: array `inputs`: cannot be read ("),
        "{error}"
    );
}
