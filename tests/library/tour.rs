//! Holds the tour of `lib.rs` to its word: no module uses one that stands in a later row, and no files use each other in a
//! circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of the library with its module path, `data::npz` for `src/data/npz.rs`, and its code without comments and
/// tests.
fn library() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    let mut library = BTreeMap::new();
    for file in files {
        let path = file.strip_prefix(&src).unwrap().with_extension("");
        let mut names: Vec<&str> = path.iter().map(|name| name.to_str().unwrap()).collect();
        // Tests may use whatever they like.
        if matches!(names[0], "main" | "lib") || names.contains(&"tests") {
            continue;
        }
        if names.last() == Some(&"mod") {
            names.pop();
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let mut lines: Vec<&str> = Vec::new();
        for line in code.lines() {
            let line = line.trim_start();
            let used_by_docs_alone = lines
                .last()
                .is_some_and(|line| line.starts_with("#[cfg(doc)]"));
            if !line.starts_with("//") && !used_by_docs_alone {
                lines.push(line);
            } else if used_by_docs_alone {
                lines.pop();
            }
        }
        library.insert(names.join("::"), lines.join("\n"));
    }
    library
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// The name at the beginning of `text`.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

/// The paths that follow each `root` in `code`: one, or those in braces.
fn paths(code: &str, root: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        let rest = &code[at + root.len()..];
        match rest.strip_prefix('{') {
            None => {
                paths.insert(
                    rest.split([';', '(', ')', ',', ' ', '<', '{'])
                        .next()
                        .unwrap()
                        .to_string(),
                );
            }
            Some(list) => {
                let list = list.split('}').next().unwrap();
                let list = list.split(',').map(|path| path.trim().to_string());
                paths.extend(list.filter(|path| !path.is_empty()));
            }
        }
    }
    paths
}

/// What the crate's root re-exports, and from which module.
fn reexports(lib: &str) -> BTreeMap<String, String> {
    let mut reexports = BTreeMap::new();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub use ")) {
        let (module, names) = line.split_once("::").unwrap();
        for item in names
            .split(['{', '}', ',', ';', ' '])
            .filter(|item| !item.is_empty())
        {
            reexports.insert(item.to_string(), module.to_string());
        }
    }
    reexports
}

/// The row of each module in the tour.
fn tour(lib: &str) -> BTreeMap<String, usize> {
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | "));
    let mut tour = BTreeMap::new();
    for (row, line) in rows.enumerate() {
        let first = line.split(" | ").next().unwrap();
        for word in first.split('`').skip(1).step_by(2) {
            tour.insert(word.to_string(), row);
        }
    }
    tour
}

#[test]
fn arrows_point_from_later_rows_of_the_tour_to_earlier_ones() {
    let lib = include_str!("../../src/lib.rs");
    let (tour, reexports) = (tour(lib), reexports(lib));
    assert!(
        tour.len() > 20 && reexports.len() > 20,
        "{tour:?} {reexports:?}"
    );
    let mut seen = 0;
    // The program uses the library as another crate would.
    let is_library = |(file, _): &(String, String)| !file.starts_with("cli");
    for (file, code) in library().into_iter().filter(is_library) {
        let own = file.split("::").next().unwrap();
        let row = tour.get(own);
        let row = row.unwrap_or_else(|| panic!("`{own}` does not stand in the tour of lib.rs"));
        for path in paths(&code, "crate::") {
            let first = name(&path);
            let module = reexports.get(first).map_or(first, String::as_str);
            let Some(theirs) = tour.get(module) else {
                panic!("{file} uses `crate::{path}`, which stands nowhere in the tour of lib.rs");
            };
            assert!(
                theirs <= row,
                "{file} uses `crate::{path}`, which stands later in the tour of lib.rs"
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} uses are too few to be all");
}

/// Modules whose children are one machine on purpose, and are read together: a trainer and its observers, which take each
/// other.
const READ_TOGETHER: [&str; 1] = ["train"];

#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let library = library();
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, code) in &library {
        let (parent, _) = file.rsplit_once("::").unwrap_or(("", file));
        let found = uses.entry(file).or_default();
        for (root, base) in [("super::", parent), ("crate::", "")] {
            for path in paths(code, root) {
                let base = if base.is_empty() {
                    path
                } else {
                    format!("{base}::{path}")
                };
                // The longest beginning of the path that is a file.
                let files = library
                    .keys()
                    .filter(|other| base == **other || base.starts_with(&format!("{other}::")));
                if let Some(used) = files.max_by_key(|other| other.len()) {
                    found.insert(used);
                }
            }
        }
        found.remove(file.as_str());
    }
    let top = |file: &str| file.split("::").next().unwrap().to_string();
    // A file that uses nothing that is left is in no circle; neither is a parent that only names its children.
    loop {
        let done: Vec<&str> = (uses.iter())
            .filter(|(_, used)| used.iter().all(|used| !uses.contains_key(used)))
            .map(|(&file, _)| file)
            .collect();
        if done.is_empty() {
            break;
        }
        done.iter().for_each(|file| {
            uses.remove(file);
        });
    }
    uses.retain(|file, _| !READ_TOGETHER.contains(&top(file).as_str()));
    assert!(uses.is_empty(), "in a circle, or using one: {uses:#?}");
}
