//! Sets that lie: reading one is the set or an error, before more than twice the file's size and 64 MiB were taken.
//!
//! What `cargo fuzz` found is here too, by the name of what was wrong (`RELIABILITY.md`).

use super::{TURN, any_byte_wrong, most_held, refused, within};
use bptt::data::Sequences;
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;

/// Read as a whole, and in parts: what is good for one is for the other.
#[track_caller]
fn npz(bytes: &[u8]) -> bptt::Result<Sequences<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.npz");
    std::fs::write(&path, bytes).unwrap();
    let opened = within(bytes.len(), || Sequences::<f32>::open_npz(&path, None));
    let read = within(bytes.len(), || {
        Sequences::from_npz(&path, Cursor::new(bytes))
    });
    match (&read, opened) {
        (Ok(set), opened) => {
            let opened = opened.unwrap();
            assert_eq!((set.len(), set.steps()), (opened.len(), opened.steps()));
            assert_eq!(
                (set.dims(), set.counted()),
                (opened.dims(), opened.counted())
            );
        }
        (Err(error), opened) => assert!(opened.is_err(), "{error}"),
    }
    read
}

/// An array with any header.
fn array(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

fn header(dtype: &str, shape: &str) -> String {
    format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n")
}

fn archive(arrays: &[(&str, &[u8])], deflated: bool) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let method = match deflated {
        true => zip::CompressionMethod::Deflated,
        false => zip::CompressionMethod::Stored,
    };
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A small set that is all right.
fn good_set() -> Vec<u8> {
    let inputs = array(&header("|u1", "(2, 3)"), &[0, 1, 2, 3, 4, 0]);
    let targets = array(
        &header("<i2", "(2, 3)"),
        &[0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 1, 0],
    );
    let lengths = array(
        &header("<i8", "(2,)"),
        &[3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0],
    );
    archive(
        &[
            ("inputs", &inputs),
            ("targets", &targets),
            ("lengths", &lengths),
        ],
        true,
    )
}

#[test]
fn arrays_that_claim_more_than_there_is() {
    let _turn = TURN.lock();
    npz(&good_set()).unwrap();
    for (dtype, shape) in [
        ("<f4", "(1152921504606846976,)"),
        ("<f8", "(4294967296, 4294967296, 1)"),
        ("<f4", "(18446744073709551615, 2, 2)"),
        ("<f4", "(99999999999999999999999999, 2, 2)"),
        ("<i8", "(1073741824, 1073741824)"),
        ("|u1", "(1000000000, 1)"),
    ] {
        let inputs = array(&header(dtype, shape), &[0; 64]);
        for deflated in [true, false] {
            refused(npz(&archive(&[("inputs", &inputs)], deflated)), "inputs");
        }
    }
    // No elements, and as many sequences and steps as one likes.
    for shape in [
        "(1048576, 1099511627776, 0)",
        "(0, 1152921504606846976, 3)",
        "(1048576, 0, 2)",
    ] {
        let inputs = array(&header("<f4", shape), &[]);
        let lengths = array(&header("|u1", "(1048576,)"), &[1; 1 << 20]);
        refused(
            npz(&archive(
                &[("inputs", &inputs), ("lengths", &lengths)],
                true,
            )),
            "length 0",
        );
    }
    // A header of four gigabytes, and one of brackets.
    let long = [b"\x93NUMPY\x02\x00\xff\xff\xff\xff", &[b' '; 100][..]].concat();
    refused(npz(&archive(&[("inputs", &long)], true)), "a header of");
    let deep = array(&"(".repeat(9000), &[]);
    refused(npz(&archive(&[("inputs", &deep)], true)), "damaged header");
    // A few brackets, and something wrong inside: a parser that goes back over each in several ways takes hours.
    let tangled = array(&format!("{}{}%\n", "{".repeat(8), "1,".repeat(4000)), &[]);
    refused(
        npz(&archive(&[("inputs", &tangled)], true)),
        "damaged header",
    );
    let object = array(&header("|O", "(2, 3)"), b"cos\nsystem\n(S'true'\ntR.");
    refused(
        npz(&archive(&[("inputs", &object)], true)),
        "Python objects",
    );
    let record = array(
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}\n",
        &[0; 24],
    );
    refused(npz(&archive(&[("inputs", &record)], true)), "record array");
}

#[test]
fn archives_that_grow() {
    let _turn = TURN.lock();
    // All of it is there, and all of it is zero.
    let inputs = array(&header("|u1", "(8192, 16384)"), &vec![0; 128 << 20]);
    let bomb = archive(&[("inputs", &inputs)], true);
    assert!(bomb.len() < 1 << 20);
    refused(npz(&bomb), "savez");
    // Neither of two does it alone.
    let filler = noise(400_000);
    let half = array(&header("|u1", "(4096, 12288)"), &vec![0; 48 << 20]);
    let two = [("inputs", &half[..]), ("mask", &half), ("x", &filler)];
    refused(npz(&archive(&two, true)), "savez");
    // What is wrong with the last shows before there is room for the first.
    let lengths = [("inputs", &half[..]), ("n_y", b"?"), ("x", &filler)];
    refused(npz(&archive(&lengths, true)), "n_y");
    // The directory claims more than is packed: 100 times, which data may be.
    let inputs = array(&header("|u1", "(8192, 1024)"), &vec![0; 1 << 20]);
    let mut lie = archive(&[("inputs", &inputs), ("other", &noise(200_000))], true);
    let (was, claimed) = (
        (inputs.len() as u32).to_le_bytes(),
        (inputs.len() as u32 + (7 << 20)).to_le_bytes(),
    );
    let replaced = replace_all(&mut lie, &was, &claimed);
    assert!(replaced >= 1);
    refused(npz(&lie), "inputs");
    // More entries than anybody needs; and one name twice, of which the last counts.
    let names: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    refused(npz(&archive(&many, false)), "entries");
    let inputs = array(&header("|u1", "(1, 2)"), &[0, 1]);
    let mut twice = archive(&[("inputs", &inputs), ("inputz", &inputs)], false);
    assert_eq!(replace_all(&mut twice, b"inputz", b"inputs"), 2);
    refused(npz(&twice), "no array `targets`");
}

/// So that a set that does not fit is refused in time.
#[test]
fn the_memory_of_a_set_is_known_from_its_headers() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.npz");
    let (n, t) = (1000, 1000);
    let fortran = |dtype| header(dtype, "(1000, 1000)").replace("False", "True");
    let zeros = vec![0; 8 * n * t];
    // Without it the compressed ones would be refused.
    let filler = noise(100_000);
    let targets = array(&header("|u1", "(1000, 1000)"), &zeros[..n * t]);
    for (header, bytes) in [
        (header("|u1", "(1000, 1000)"), n * t),
        (fortran("<i8"), 8 * n * t),
        (header("<f8", "(1000, 500, 2)"), 8 * n * t),
    ] {
        let inputs = array(&header, &zeros[..bytes]);
        let mask = array(
            "{'descr': '|b1', 'fortran_order': False, 'shape': (1000, 1000)}\n",
            &vec![1; n * t],
        );
        let float = header.contains("f8");
        let mut arrays = vec![("inputs", &inputs[..]), ("filler", &filler)];
        if !float {
            arrays.extend([("targets", &targets[..]), ("mask", &mask)]);
        }
        for deflated in [true, false] {
            let packed = archive(&arrays, deflated);
            std::fs::write(&path, &packed).unwrap();
            let known =
                within(packed.len(), || Sequences::<f32>::npz_memory(&path, !float)).unwrap();
            assert!(known >= bytes as f64 && known < 40e6);
            let (_, most) = most_held(|| match float {
                true => drop(Sequences::<f32>::inputs_only(&path).unwrap()),
                false => drop(Sequences::<f32>::read_npz(&path).unwrap()),
            });
            let most = most as f64;
            assert!(
                most <= known + 1e6,
                "{most} bytes where {known} were expected: {header}"
            );
        }
    }
}

/// Bytes that do not compress.
fn noise(n: usize) -> Vec<u8> {
    let mut x = 1u64;
    let mut next = || {
        x = x
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (x >> 56) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn replace_all(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    let mut found = 0;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + from.len()].copy_from_slice(to);
            found += 1;
        }
    }
    found
}

/// Whatever is cut off or flipped, there is an answer; most often an error.
#[test]
fn with_any_byte_wrong() {
    let _turn = TURN.lock();
    any_byte_wrong(&good_set(), |bytes| npz(bytes).is_ok());
}
