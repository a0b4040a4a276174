//! The gateway's floors: a room imports only from lower floors, and says so at the top of its files.
//!
//! `gateway/ARCHITECTURE.md` explains the floors; this table is what holds them. It reads the sources as text, so
//! it sees imports that the compiler has no opinion about.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by floor. A room imports from lower floors and from itself, never sideways.
const FLOORS: &[(u8, &[&str])] = &[
    (7, &["main", "lib", "cli", "startup", "shutdown"]),
    (6, &["config"]),
    (5, &["front", "control", "dynauth", "tunnel", "client"]),
    (4, &["session"]),
    (3, &["accounting", "auth"]),
    (2, &["dataplane", "radius"]),
    // A step of its own: the exporter serves in a task and stops with the others.
    (1, &["observe"]),
    (0, &["ids", "task", "os", "trust"]),
];

/// Rooms on the top floor that may import one another: they are one room cut into files.
const TOP: u8 = 7;

/// Rooms whose folders do not know one another.
const DIVIDED: &[&str] = &["tunnel"];

fn floor(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(_, rooms)| rooms.contains(&room))
        .map(|(floor, _)| *floor)
}

#[test]
fn rooms_import_from_lower_floors_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(
        files.len() > 10,
        "only {} files under {}",
        files.len(),
        root.display()
    );
    files.sort();
    let violations: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&root).unwrap();
            let text = fs::read_to_string(file).unwrap();
            violations(&module_path(name), &text)
                .into_iter()
                .map(move |(line, what)| format!("gateway/src/{}:{line}: {what}", name.display()))
        })
        .collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn every_room_of_the_house_is_on_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/src");
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_stem().unwrap().to_str().unwrap();
        assert!(floor(room).is_some(), "`{room}` stands on no floor");
    }
}

#[test]
fn sees_what_it_should_see() {
    let at = |module: &[&str], text: &str| {
        let module: Vec<String> = module.iter().map(ToString::to_string).collect();
        violations(&module, text).len()
    };
    let rows: &[(&[&str], &str, usize)] = &[
        (&["session", "pool"], "use crate::ids::SessionId;\n", 0),
        (
            &["session", "pool"],
            "use crate::session::table::{Row, Table};\n",
            0,
        ),
        (&["session", "pool"], "use crate::front::Listener;\n", 1),
        (
            &["session", "pool"],
            "use crate::{\n    ids::Id,\n    front::{A, B},\n};\n",
            1,
        ),
        (&["front"], "use crate::control::Backend;\n", 1),
        (&["dataplane", "shard"], "use crate::radius::Config;\n", 1),
        (&["dataplane", "shard"], "use crate::attic::Config;\n", 1),
        (
            &["tunnel", "sstp", "driver"],
            "use crate::tunnel::sstp::Up;\n",
            0,
        ),
        (
            &["tunnel", "sstp", "driver"],
            "use crate::tunnel::ike::Up;\n",
            1,
        ),
        (&["startup"], "use crate::shutdown::stop;\n", 0),
        (
            &["session"],
            "mod tests {\n    fn f() { crate::ids::new(); }\n}\n",
            0,
        ),
        (
            &["session"],
            "mod tests {\n    fn f() { crate::front::new(); }\n}\n",
            1,
        ),
        (&["session"], "fn f() { crate::ids::new(); }\n", 1),
        (&["session"], "fn f() {\n    use crate::ids::new;\n}\n", 1),
        (&["session"], "fn f() {}\nuse crate::ids::new;\n", 1),
        (
            &["session"],
            "#[cfg(test)]\nmod tests {\n    use crate::ids::new;\n}\n",
            0,
        ),
        (
            &["session"],
            "#[cfg(test)]\nmod tests {\n    use crate::front::new;\n}\n",
            1,
        ),
        (
            &["session"],
            "/// See [`crate::front`].\nstruct A; // crate::front\n",
            0,
        ),
        (&["session"], "const A: &str = \"crate::front::x\";\n", 0),
        (&["session"], "pub(in crate::session) fn f() {}\n", 0),
        (
            &["session"],
            "macro_rules! a { () => { $crate::ids::new() } }\n",
            0,
        ),
        (&["session"], "use super::front::Listener;\n", 1),
        (&["session", "pool"], "use super::table::Table;\n", 0),
        (
            &["session", "pool"],
            "use super::super::front::Listener;\n",
            1,
        ),
        (
            &["session"],
            "mod tests {\n    use super::super::front::Listener;\n}\n",
            1,
        ),
    ];
    for (module, text, expected) in rows {
        assert_eq!(at(module, text), *expected, "{module:?}: {text}");
    }
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

/// `front/listener.rs` is `[front, listener]`, `front/mod.rs` is `[front]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// What is wrong in a file, with line numbers.
fn violations(module: &[String], text: &str) -> Vec<(usize, String)> {
    let code = code_only(text);
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut header = true;
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let line = code[..at].matches('\n').count() + 1;
        let word_start = !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_$".contains(c));
        if word_start && rest.starts_with("use ") {
            let end = rest.find(';').unwrap_or(rest.len());
            for path in paths(&rest[4..end]) {
                if let Some(what) = import(module, depth, &path) {
                    found.push((line, what));
                }
                if path.first().is_some_and(|first| first == "crate")
                    && !tops(&code[..at], depth, header)
                {
                    found.push((
                        line,
                        "`use crate::…` belongs at the top of the file".to_owned(),
                    ));
                }
            }
            at += end;
            continue;
        }
        if word_start && rest.starts_with("crate::") && !code[..at].ends_with("in ") {
            let end = rest.find(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
            if !in_tests(&code[..at]) && !is_tests(module) {
                found.push((
                    line,
                    "a path with `crate::` in the middle; import it at the top".to_owned(),
                ));
            }
            for path in paths(&rest[..end.unwrap_or(rest.len())]) {
                found.extend(import(module, depth, &path).map(|what| (line, what)));
            }
        }
        if word_start && depth == 0 && ITEMS.iter().any(|item| rest.starts_with(item)) {
            header = false;
        }
        let c = rest.chars().next().unwrap();
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += c.len_utf8();
    }
    found.dedup();
    found
}

/// What ends the part of a file where imports belong.
const ITEMS: &[&str] = &[
    "fn ",
    "struct ",
    "enum ",
    "impl ",
    "impl<",
    "trait ",
    "const ",
    "static ",
    "type ",
    "macro_rules!",
    "union ",
];

/// Whether an import stands at the top of its file, or of a test module in it.
fn tops(before: &str, depth: usize, header: bool) -> bool {
    match depth {
        0 => header,
        1 => in_tests(before),
        _ => false,
    }
}

/// Whether the file is a test module that outgrew its file.
fn is_tests(module: &[String]) -> bool {
    module
        .iter()
        .any(|part| part == "tests" || part.ends_with("_tests"))
}

/// Whether what comes next stands in the file's test module.
fn in_tests(before: &str) -> bool {
    before
        .rfind("mod tests {")
        .is_some_and(|start| !before[start..].contains("\n}"))
}

/// The paths of one `use` tree, flattened, as segments.
fn paths(tree: &str) -> Vec<Vec<String>> {
    let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut flat = Vec::new();
    flatten(&[], &tree, &mut flat);
    flat
}

fn flatten(prefix: &[String], tree: &str, flat: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        if !tree.is_empty() {
            let path = tree.split(" as ").next().unwrap();
            let rest = path
                .split("::")
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty());
            flat.push(prefix.iter().cloned().chain(rest).collect());
        }
        return;
    };
    let head: Vec<String> = prefix
        .iter()
        .cloned()
        .chain(
            tree[..open]
                .split("::")
                .map(|part| part.trim().to_owned())
                .filter(|part| !part.is_empty()),
        )
        .collect();
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
    let (mut depth, mut start) = (0, 0);
    for (i, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                flatten(&head, &inner[start..i], flat);
                start = i + 1;
            }
            _ => {}
        }
    }
    flatten(&head, &inner[start..], flat);
}

/// What is wrong with one imported path, if anything.
fn import(module: &[String], depth: usize, path: &[String]) -> Option<String> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    if supers > 0 {
        let own = if module[0] == "lib" || module[0] == "main" {
            0
        } else {
            module.len()
        };
        let out = supers >= own + depth.min(1);
        return out.then(|| "`super` leads out of the room; say `crate::`".to_owned());
    }
    if path.first()? != "crate" {
        return None;
    }
    let (here, there) = (&module[0], path.get(1)?);
    if here == there {
        let divided = DIVIDED.contains(&here.as_str()) && module.len() > 1 && path.len() > 3;
        return (divided && module[1] != path[2]).then(|| {
            format!(
                "`{here}::{}` imports from its neighbour `{there}::{}`",
                module[1], path[2]
            )
        });
    }
    let (Some(mine), Some(theirs)) = (floor(here), floor(there)) else {
        return Some(format!(
            "`{here}` imports from `{there}`, and one of them stands on no floor"
        ));
    };
    (theirs >= mine && mine != TOP)
        .then(|| format!("`{here}` (floor {mine}) imports from `{there}` (floor {theirs})"))
}

/// The source with comments and the insides of string literals blanked; every line keeps its number.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(c) = rest.chars().next() {
        let word = previous.is_alphanumeric() || previous == '_';
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            plain_string(rest)
        } else if !word && (rest.starts_with("r\"") || rest.starts_with("r#")) {
            raw_string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            out.push(c);
            previous = c;
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            out.push(' ');
            previous = ' ';
            rest = &rest[skipped..];
        }
    }
    out
}

fn plain_string(rest: &str) -> usize {
    let mut escaped = false;
    for (i, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a raw string, 0 for a raw identifier.
fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    rest[body..]
        .find(&close)
        .map_or(rest.len(), |end| body + end + close.len())
}

/// The length of a character literal, 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let Some((_, first)) = chars.next() else {
        return 0;
    };
    if first == '\\' {
        return rest[2..]
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == '\'')
            .map_or(0, |(i, _)| i + 3);
    }
    match chars.next() {
        Some((i, '\'')) => i + 1,
        _ => 0,
    }
}
