//! Files and folders to one text.

use super::*;

/// More bytes than are read at a time.
const PIECE: usize = 1 << 20;

const KINDS: [TokenKind; 3] = [TokenKind::Char, TokenKind::Byte, TokenKind::Word];

/// The bytes of a text that is read, and what was read.
fn read(paths: &[PathBuf], kind: TokenKind) -> bptt::Result<(Vec<u8>, Reading)> {
    let (corpus, reading) = Corpus::read(paths, kind)?;
    Ok((decoded(corpus.vocabulary(), &all(&corpus)), reading))
}

/// Several threads read what one reads, whatever lies where their shares meet, and say of a problem what one says.
#[test]
fn threads_read_what_one_reads() {
    let long =
        "Zwölf Boxkämpfer jagen\r\n\u{3000}Viktor  \u{1f600}quer über den großen Sylter Deich\n"
            .repeat(2100);
    let mut bad = long.clone().into_bytes();
    bad[90_001] = 0xff;
    bad[150_001] = 0xff;
    let files: [(&str, &[u8]); 5] = [
        ("folder/a.txt", long.as_bytes()),
        ("folder/b.txt", b"ein anderer Text, ohne Zeilenende"),
        ("folder/c/d.txt", &long.as_bytes()[1..100_000]),
        ("folder/e.bin", &bad),
        ("bad.txt", &bad),
    ];
    let (root, _) = folder(&files);
    let known = [Vocabulary::of_chars("Zwölf B"), words(&["Viktor", "quer"])];
    for kind in KINDS {
        for paths in [
            vec!["folder"],
            vec!["folder/a.txt"],
            vec!["folder", "bad.txt"],
        ] {
            let paths: Vec<_> = paths.iter().map(|path| root.path().join(path)).collect();
            let read = |threads| {
                let readers = Readers {
                    threads,
                    ranks: None,
                };
                let own = Corpus::read_part(&paths, kind, WordLimits::default(), readers);
                let known = known
                    .iter()
                    .map(|known| Corpus::read_part_with(&paths, known, readers));
                let all = std::iter::once(own).chain(known);
                all.map(|read| read.map_err(|error| error.to_string()))
                    .collect::<Vec<_>>()
            };
            let one = read(1);
            assert!(
                one[0].is_ok() || paths.len() == 2 && kind != TokenKind::Byte,
                "{:?}",
                one[0]
            );
            for threads in [2, 3, 5] {
                assert!(
                    read(threads) == one,
                    "{kind:?} of {paths:?} on {threads} threads"
                );
            }
        }
    }
}

#[test]
fn a_folder_is_sorted_and_the_rest_skipped_and_counted() {
    // Two pieces, and a third that is no text.
    let late = [vec![b'x'; 2 * PIECE + 9], vec![0xff]].concat();
    let (root, _) = folder(&[
        ("c.txt", b"3"),
        ("b/z.txt", b"2"),
        ("a.txt", b"1"),
        ("empty", b""),
        ("late.bin", &late),
        ("binary", b"\xff\xfe\0\0"),
        (".hidden", b"no"),
        ("b/.git/config", b"no"),
    ]);
    let at = |name: &str| root.path().join(name);
    let (text, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!(text, b"123");
    let expected = Reading {
        files: 3,
        skipped: 3,
        ignored: 0,
        bytes: 3,
        other_formats: 0,
    };
    assert_eq!(reading, expected);
    let (text, _) = read(&[at("c.txt"), at("b"), at("c.txt")], TokenKind::Byte).unwrap();
    assert_eq!(text, b"323");
}

/// However a text is cut while it is read, its tokens are those of the whole, and an error knows its place.
#[test]
fn long_texts_are_read_as_in_one_piece() {
    // Characters of two bytes, so that every other cut would fall into one; then a word longer than a piece.
    let mut text = format!("{}\n{}", "éé é\n".repeat(PIECE / 4), "é".repeat(PIECE));
    let (_root, paths) = folder(&[("a", text.as_bytes())]);
    for kind in KINDS {
        let (corpus, reading) = Corpus::read(&paths, kind).unwrap();
        let mut ids = corpus.vocabulary().encode(text.as_bytes()).unwrap();
        ids.extend((kind == TokenKind::Word).then_some(1));
        assert!(
            all(&corpus) == ids && reading.bytes == text.len() as u64,
            "{kind:?}"
        );
    }
    // A character of four bytes at every place around the end of a piece.
    for before in PIECE - 8..PIECE + 1 {
        let text = "x".repeat(before) + "\u{1f600}\u{1f600}y";
        fs::write(&paths[0], &text).unwrap();
        let (found, _) = read(&paths, TokenKind::Char).unwrap();
        assert!(found == text.as_bytes(), "{before}");
    }
    text.push('?');
    fs::write(&paths[0], &text).unwrap();
    let known = Vocabulary::of_chars("é \n");
    let place = format!("line {}, column {}: '?'", PIECE / 4 + 2, PIECE + 1);
    refused(Corpus::read_with(&paths, &known), &[&place]);
    fs::write(&paths[0], [vec![b'x'; 3 * PIECE + 7], vec![0xff]].concat()).unwrap();
    let offset = format!("offset {}", 3 * PIECE + 7);
    refused(read(&paths, TokenKind::Char), &[&offset]);
}

/// As `git` and `ripgrep` read ignore files: those of the folder and of folders below it, the nearest last.
#[test]
fn what_gitignore_names_is_left_out_and_counted() {
    let (root, paths) = folder(&[
        (".gitignore", b"build/\n*.log\n/top.txt\n"),
        ("a.txt", b"1"),
        ("a.log", b"no"),
        ("top.txt", b"no"),
        ("b/top.txt", b"2"),
        ("b/.ignore", b"!keep.log\nc.txt"),
        ("b/c.txt", b"no"),
        ("b/keep.log", b"3"),
        ("b/build/d.txt", b"no"),
    ]);
    let (text, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!(text, b"132");
    assert_eq!((reading.files, reading.skipped, reading.ignored), (3, 0, 4));
    // What is named by itself is read.
    let (text, _) = read(
        &[paths[2].clone(), root.path().join("b/build")],
        TokenKind::Char,
    )
    .unwrap();
    assert_eq!(text, b"nono");
    fs::write(&paths[0], "[z-a]").unwrap();
    refused(
        read(&[root.path().to_owned()], TokenKind::Char),
        &[".gitignore", "z"],
    );
    fs::write(&paths[0], "*.txt\n*.log").unwrap();
    let bare = read(&[root.path().to_owned()], TokenKind::Char).map(|(text, _)| text);
    assert_eq!(bare.unwrap(), b"3");
    fs::remove_file(&paths[5]).unwrap();
    refused(
        read(&[root.path().to_owned()], TokenKind::Char),
        &["no text", ".gitignore"],
    );
}

#[test]
fn gzip_is_unpacked() {
    let text = "one two\n".repeat(PIECE / 5);
    // Two members, as of two files that were joined.
    let mut packed = gzip(text.as_bytes());
    packed.extend(gzip("last é".as_bytes()));
    let (root, paths) = folder(&[("a.txt.gz", &packed), ("b", b"plain")]);
    for kind in [TokenKind::Char, TokenKind::Byte] {
        let (found, reading) = read(&[root.path().to_owned()], kind).unwrap();
        assert!(found == format!("{text}last éplain").as_bytes());
        assert_eq!(reading.bytes, found.len() as u64);
    }
    let known = Vocabulary::of_chars(&text);
    let place = format!("line {}, column 1: 'l'", PIECE / 5 + 1);
    refused(
        Corpus::read_with(&paths[..1], &known),
        &["a.txt.gz", &place, "'é'"],
    );
    fs::write(&paths[0], &packed[..packed.len() / 2]).unwrap();
    refused(
        read(&paths[..1], TokenKind::Char),
        &["a.txt.gz", "gzip", "damaged"],
    );
    let (found, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!((found.as_slice(), reading.skipped), (&b"plain"[..], 1));
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[cfg(unix)]
#[test]
fn links_are_followed_once() {
    let (root, _) = folder(&[("a/t.txt", b"t")]);
    std::os::unix::fs::symlink("..", root.path().join("a/loop")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.path().join("broken")).unwrap();
    let (text, reading) = read(&[root.path().to_owned()], TokenKind::Char).unwrap();
    assert_eq!((text.as_slice(), reading.skipped), (&b"t"[..], 1));
}

#[test]
fn errors_name_the_file() {
    let (root, _) = folder(&[("empty.txt", b""), ("latin.txt", b"caf\xe9")]);
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("bare")).unwrap();
    for (name, kind, expected) in [
        ("missing.txt", TokenKind::Char, "No such file"),
        ("empty.txt", TokenKind::Byte, "empty"),
        ("latin.txt", TokenKind::Char, "offset 3"),
        ("bare", TokenKind::Char, "no text"),
    ] {
        refused(read(&[at(name)], kind), &[name, expected]);
    }
    let (text, _) = read(&[at("latin.txt")], TokenKind::Byte).unwrap();
    assert_eq!(text, b"caf\xe9");
    if cfg!(unix) {
        let device = Path::new("/dev/zero").to_owned();
        refused(read(&[device], TokenKind::Byte), &["/dev/zero: a device"]);
    }
    assert!(read(&[], TokenKind::Byte).is_err());
}

#[test]
fn files_are_joined_and_encoded_with_their_own_symbols() {
    let (_root, paths) = folder(&[("b", "bé".as_bytes()), ("a", b"ab")]);
    let (corpus, reading) = Corpus::read(&paths, TokenKind::Char).unwrap();
    assert_eq!(corpus.vocabulary(), &Vocabulary::of_chars("abé"));
    assert_eq!(all(&corpus), [1, 2, 0, 1]);
    assert_eq!((reading.files, reading.bytes), (2, 5));
    let (bytes, _) = Corpus::read(&paths, TokenKind::Byte).unwrap();
    assert_eq!(all(&bytes), [98, 0xc3, 0xa9, 97, 98]);
    for kind in KINDS {
        let (corpus, _) = Corpus::read(&paths, kind).unwrap();
        let (again, _) = Corpus::read_with(&paths, corpus.vocabulary()).unwrap();
        assert_eq!(again, corpus);
    }
}
