//! Who may use whom: reads the paths in `src` and compares them with the table below, so that data and knowledge keep
//! flowing one way. Code that only tests compile is not looked at.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in the functions that it shares too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module of the crate's root, and what of the others it may use; a path allows everything below it.
/// `docs/architecture.md` has the reasons.
const TABLE: &[(&str, &[&str])] = &[
    ("reading", &[]),
    ("zone", &["reading"]),
    ("metrics", &["reading"]),
    ("clock", &["config::Clock", "config::Trust", "metrics", "reading", "zone"]),
    ("budget", &["clock", "config", "metrics", "reading", "zone"]),
    ("codec", &["reading", "zone"]),
    ("config", &["budget::memory", "codec::modbus", "codec::payload", "codec::serial", "codec::topic", "zone"]),
    ("pipeline", &["config::Intake", "metrics", "reading"]),
    ("quality", &["config::Interval", "config::Quality", "reading"]),
    (
        "source",
        &[
            "clock",
            "codec",
            "config::Modbus",
            "config::Mqtt",
            "config::Parity",
            "config::Serial",
            "config::Subscription",
            "config::Uart",
            "config::secret",
            "metrics",
            "pipeline::Closed",
            "pipeline::Intake",
            "pipeline::Notice",
            "pipeline::Refused",
            "reading",
            "zone",
        ],
    ),
    (
        "store",
        &["budget", "clock", "config::Interval", "config::Store", "metrics", "pipeline", "quality", "reading", "zone"],
    ),
    (
        "serve",
        &[
            "budget",
            "clock",
            "codec::time",
            "config::Http",
            "config::Quality",
            "config::secret",
            "metrics",
            "quality",
            "reading",
            "store::Reader",
            "store::catalog",
            "store::ledger",
            "store::reader",
            "zone",
        ],
    ),
    (
        "service",
        &["budget", "clock", "codec", "config", "metrics", "pipeline", "reading", "serve", "source", "store", "zone"],
    ),
    ("decode", &["codec", "reading", "zone"]),
    ("demo", &["codec", "config", "reading", "status"]),
    ("sniff", &["codec", "config::Parity", "config::Uart", "reading", "source::mqtt::sniff", "source::sniff", "zone"]),
    ("status", &[]),
    ("doctor", &["config::Store", "status", "store::Lock", "store::LockError", "store::compact", "store::recovery"]),
    ("compact", &["config::Store", "status", "store::Lock", "store::LockError", "store::compact"]),
    (
        "cli",
        &[
            "budget",
            "clock::realtime",
            "clock::zone_of_machine",
            "codec",
            "compact",
            "config",
            "decode",
            "demo",
            "doctor",
            "reading",
            "service",
            "sniff",
            "source::mqtt",
            "source::ports",
            "status",
            "store::recovery::probe",
            "zone",
        ],
    ),
    ("main", &["cli"]),
];

/// Crates that belong to one stage: no other module names them.
const OWNERS: &[(&str, &[&str])] = &[
    ("axum", &["serve"]),
    ("clap", &["cli"]),
    ("duckdb", &["store"]),
    ("rumqttc", &["demo", "source"]),
    ("tokio_modbus", &["source"]),
    ("tokio_serial", &["source"]),
];

/// What pure modules must not touch: files, sockets, threads, clocks, the environment.
const IMPURE: &[&str] = &[
    "chrono::Local",
    "chrono::Utc",
    "libc",
    "rustix",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tokio",
];

/// Modules that work on their arguments alone.
const PURE: &[&str] = &["codec", "quality", "reading", "zone"];

#[test]
fn every_module_keeps_to_its_row() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    read_tree(&src, &src, &mut files);
    let tests: Vec<PathBuf> = files.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    let of_tests = |path: &Path| tests.iter().any(|t| path.starts_with(t) || path == t.with_extension("rs"));

    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, text) in files.iter().filter(|(path, _)| !of_tests(path)) {
        seen.insert(top_module(path));
        found.extend(violations(path, text));
    }
    // Were the tree not found or not read, nothing would be found in it either.
    for module in ["clock", "codec", "config", "metrics", "pipeline", "reading", "store"] {
        assert!(seen.contains(module), "no file of `{module}` below {}", src.display());
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_path_out_of_the_row_is_named_with_its_file_line_and_rule() {
    assert_eq!(
        violations(Path::new("source/mqtt.rs"), "use std::io;\n\nuse crate::store::Reader;\n"),
        [
            "src/source/mqtt.rs:3: `source` uses `crate::store::Reader`; of this crate it may use clock, codec, config::Modbus, \
          config::Mqtt, config::Parity, config::Serial, config::Subscription, config::Uart, config::secret, metrics, \
          pipeline::Closed, pipeline::Intake, pipeline::Notice, pipeline::Refused, reading, zone (tests/layering.rs)"
        ]
    );
    assert_eq!(
        violations(Path::new("codec/json.rs"), "use std::fs::File;"),
        ["src/codec/json.rs:1: `codec` uses `std::fs::File`; it works on its arguments alone (tests/layering.rs)"]
    );
    assert_eq!(
        violations(Path::new("serve/http.rs"), "fn f(c: duckdb::Connection) {}"),
        ["src/serve/http.rs:1: `serve` uses `duckdb::Connection`; that crate belongs to store (tests/layering.rs)"]
    );
    assert_eq!(
        violations(Path::new("forecast/mod.rs"), ""),
        ["src/forecast/mod.rs:1: `forecast` has no row in the table of tests/layering.rs"]
    );
}

#[test]
fn every_way_to_write_a_path_is_seen() {
    let lines = |file: &str, text: &str| -> Vec<String> {
        violations(Path::new(file), text)
            .iter()
            .map(|v| v.split("; ").next().unwrap().trim_start_matches("src/").to_owned())
            .collect()
    };
    // Groups, in any depth, with `self` and renamed.
    assert_eq!(
        lines("serve/http.rs", "use crate::{reading::Reading,\n  pipeline::{self, Intake as In}, store::Writer};"),
        [
            "serve/http.rs:2: `serve` uses `crate::pipeline`",
            "serve/http.rs:2: `serve` uses `crate::pipeline::Intake`",
            "serve/http.rs:2: `serve` uses `crate::store::Writer`"
        ]
    );
    // Without `use`.
    assert_eq!(
        lines("source/mod.rs", "fn f() -> crate::serve::Error {\n crate::service::run() }"),
        [
            "source/mod.rs:1: `source` uses `crate::serve::Error`",
            "source/mod.rs:2: `source` uses `crate::service::run`"
        ]
    );
    // Through a module that is imported whole, or under another name.
    let whole = "use crate::config;\nfn f(a: config::Intake, b: config::Http) {}";
    assert_eq!(lines("pipeline/intake.rs", whole), ["pipeline/intake.rs:2: `pipeline` uses `crate::config::Http`"]);
    let renamed = "use crate::config as c;\nfn f(b: &c::Http) {}";
    assert_eq!(lines("pipeline/intake.rs", renamed), ["pipeline/intake.rs:2: `pipeline` uses `crate::config::Http`"]);
    // By climbing, from a file, from its folder and from a module inside it.
    assert_eq!(lines("clock.rs", "use super::store::Reader;"), ["clock.rs:1: `clock` uses `crate::store::Reader`"]);
    let climb = "use super::super::cli::run;\nuse super::reader::Reader;";
    assert_eq!(lines("store/writer.rs", climb), ["store/writer.rs:1: `store` uses `crate::cli::run`"]);
    let inside = "mod inner {\n use super::near;\n use super::super::super::cli::run;\n}";
    assert_eq!(lines("store/writer.rs", inside), ["store/writer.rs:3: `store` uses `crate::cli::run`"]);
    // Everything at once.
    assert_eq!(lines("store/mod.rs", "use crate::*;"), ["store/mod.rs:1: `store` uses `crate::*`"]);
    assert_eq!(lines("store/mod.rs", "use crate::config::*;"), ["store/mod.rs:1: `store` uses `crate::config::*`"]);
    assert_eq!(
        lines("main.rs", "fn main() { gadwall::service::run() }"),
        ["main.rs:1: `main` uses `crate::service::run`"]
    );
}

#[test]
fn comments_strings_and_tests_are_no_uses() {
    let text = r##"
//! [`crate::store`]
/* use crate::store::Reader; /* nested */ use crate::cli; */
const A: &str = "use crate::store::Reader; \" crate::cli::run";
const B: &str = r#"crate::cli::run "quoted" crate::cli"#;
const C: [char; 2] = ['"', '\''];
fn f<'a>(x: &'a str) -> impl Sized + use<'a> { x } // crate::cli::run
#[cfg(test)]
use crate::cli;
#[cfg(test)]
mod tests {
    use crate::store::Reader;
    fn g() { if true {} }
}
#[cfg(all(test, unix))]
#[path = "x.rs"]
mod more;
use crate::cli::last;
"##;
    let found = violations(Path::new("codec/json.rs"), text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("src/codec/json.rs:18: `codec` uses `crate::cli::last`"), "{found:?}");
    assert_eq!(test_files(Path::new("codec/json.rs"), text), [PathBuf::from("codec/json/more")]);
    assert_eq!(test_files(Path::new("codec/mod.rs"), "#[cfg(test)] mod tests;"), [PathBuf::from("codec/tests")]);
    assert!(violations(Path::new("codec/json.rs"), "#![cfg(test)]\nuse crate::store;").is_empty());
}

fn read_tree(root: &Path, dir: &Path, into: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_tree(root, &path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
}

/// The modules from the crate's root down to the file at `path` below `src`; none for `lib.rs`.
fn modules(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        path.with_extension("").iter().map(|p| p.to_str().expect("file names are UTF-8").to_owned()).collect();
    parts.pop_if(|last| last == "mod" || last == "lib");
    parts
}

fn top_module(path: &Path) -> String {
    modules(path).first().cloned().unwrap_or_default()
}

/// What the file at `path` below `src` uses against the table.
fn violations(path: &Path, text: &str) -> Vec<String> {
    let modules = modules(path);
    let Some(module) = modules.first() else { return Vec::new() };
    let place = format!("src/{}", path.display());
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| name == module) else {
        return vec![format!("{place}:1: `{module}` has no row in the table of tests/layering.rs")];
    };
    let mut found = Vec::new();
    let depth = if module == "main" { 0 } else { modules.len() };
    for Use { line, path, import } in uses(depth, &without_tests(tokens(text))) {
        let shown = path.join("::");
        let place = format!("{place}:{line}: `{module}` uses `{shown}`");
        if path[0] == "crate" {
            let inside = |entry: &&str| starts_with(&path[1..], entry);
            // A module that is imported whole is judged by what is used of it.
            let above =
                |entry: &&str| import && starts_with(&entry.split("::").collect::<Vec<_>>(), &path[1..].join("::"));
            if path[1..].first().is_none_or(|p| p != module) && !allowed.iter().any(|e| inside(e) || above(e)) {
                let allowed = allowed.join(", ");
                found.push(format!("{place}; of this crate it may use {allowed} (tests/layering.rs)"));
            }
        } else if PURE.contains(&module.as_str()) && IMPURE.iter().any(|entry| starts_with(&path, entry)) {
            found.push(format!("{place}; it works on its arguments alone (tests/layering.rs)"));
        } else if let Some((_, owners)) = OWNERS.iter().find(|(name, _)| path[0] == *name)
            && !owners.contains(&module.as_str())
        {
            let owners = owners.join(", ");
            found.push(format!("{place}; that crate belongs to {owners} (tests/layering.rs)"));
        }
    }
    found
}

fn starts_with<S: AsRef<str>>(path: &[S], entry: &str) -> bool {
    let mut path = path.iter().map(AsRef::as_ref);
    entry.split("::").all(|part| path.next() == Some(part))
}

/// A path from the crate's root (`crate::..`) or from another crate.
struct Use {
    line: usize,
    path: Vec<String>,
    import: bool,
}

/// All paths in `tokens` that leave the module, which is `depth` below the crate's root.
fn uses(depth: usize, tokens: &[Token]) -> Vec<Use> {
    let mut found = Vec::new();
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut inline: Vec<usize> = Vec::new();
    let mut braces = 0;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let text = token.text.as_str();
        let is = |ahead: usize, what: &str| tokens.get(at + ahead).is_some_and(|t| t.text == what);
        if text == "mod" && is(2, "{") {
            inline.push(braces);
            braces += 1;
            at += 3;
        } else if text == "use" && !is(1, "<") {
            at += 1;
            let mut leaves = Vec::new();
            use_tree(tokens, &mut at, &[], &mut leaves);
            for (line, path, name) in leaves {
                if let Some(path) = absolute(&path, depth + inline.len()) {
                    names.insert(name, path.clone());
                    found.push(Use { line, path, import: true });
                }
            }
        } else if is_ident(text) {
            let start = at;
            let mut path = vec![text.to_owned()];
            at += 1;
            while tokens.get(at).is_some_and(|t| t.text == "::")
                && tokens.get(at + 1).is_some_and(|t| is_ident(&t.text))
            {
                path.push(tokens[at + 1].text.clone());
                at += 2;
            }
            // A field or method of that name is no path; `::name` is, but its crate stands before it.
            let path_starts = start == 0 || !matches!(tokens[start - 1].text.as_str(), "." | "::");
            if path_starts && path.len() > 1 {
                let whole = match names.get(&path[0]) {
                    Some(target) => Some(target.iter().chain(&path[1..]).cloned().collect()),
                    None => absolute(&path, depth + inline.len()),
                };
                found.extend(whole.map(|path| Use { line: token.line, path, import: false }));
            }
        } else {
            match text {
                "{" => braces += 1,
                "}" => {
                    braces -= 1;
                    inline.pop_if(|opened| *opened == braces);
                }
                _ => {}
            }
            at += 1;
        }
    }
    found
}

/// Reads one tree of a `use` into its leaves: line, path, and the name that it gets here.
fn use_tree(tokens: &[Token], at: &mut usize, prefix: &[String], leaves: &mut Vec<(usize, Vec<String>, String)>) {
    let mut path = prefix.to_vec();
    let mut name = None;
    let line = tokens.get(*at).map_or(0, |t| t.line);
    while let Some(token) = tokens.get(*at) {
        match token.text.as_str() {
            ";" | "," | "}" => break,
            "::" => *at += 1,
            "as" => {
                name = tokens.get(*at + 1).map(|t| t.text.clone());
                *at += 2;
            }
            "{" => {
                *at += 1;
                while tokens.get(*at).is_some_and(|t| t.text != "}") {
                    use_tree(tokens, at, &path, leaves);
                    if tokens.get(*at).is_some_and(|t| t.text == ",") {
                        *at += 1;
                    }
                }
                *at += 1;
                return;
            }
            "self" if !path.is_empty() => *at += 1,
            part => {
                path.push(part.to_owned());
                *at += 1;
            }
        }
    }
    if let Some(last) = path.last() {
        let name = name.unwrap_or_else(|| last.clone());
        leaves.push((line, path, name));
    }
}

/// The path from the crate's root or from another crate; `None` where it stays inside the module.
fn absolute(path: &[String], depth: usize) -> Option<Vec<String>> {
    let climbs = path.iter().take_while(|p| *p == "super").count();
    let below = |from: usize| Some([&["crate".to_owned()], &path[from..]].concat());
    match path[0].as_str() {
        "crate" | "gadwall" => below(1),
        "super" if climbs >= depth => below(climbs),
        "super" | "self" | "Self" => None,
        _ => Some(path.to_vec()),
    }
}

struct Token {
    line: usize,
    text: String,
}

fn is_ident(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The identifiers and signs of Rust source; comments are left out, literals are a sign of their own.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    let peek = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while at < chars.len() {
        let from = at;
        let mut token = None;
        match chars[at] {
            '/' if peek(at + 1) == '/' => {
                while at < chars.len() && chars[at] != '\n' {
                    at += 1;
                }
            }
            '/' if peek(at + 1) == '*' => {
                let mut open = 0;
                loop {
                    match (peek(at), peek(at + 1)) {
                        ('/', '*') => (open, at) = (open + 1, at + 2),
                        ('*', '/') => (open, at) = (open - 1, at + 2),
                        _ => at += 1,
                    }
                    if open == 0 || at >= chars.len() {
                        break;
                    }
                }
            }
            '"' => at = string_end(&chars, at, None),
            '\'' if peek(at + 1) == '\\' || peek(at + 2) == '\'' => {
                at += if peek(at + 1) == '\\' { 3 } else { 2 };
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            }
            '\'' => at += 1,
            c if c.is_alphanumeric() || c == '_' => {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
                let word: String = chars[from..at].iter().collect();
                let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                if raw && peek(at + hashes) == '"' {
                    at = string_end(&chars, at + hashes, Some(hashes));
                } else {
                    token = Some(word);
                }
            }
            ':' if peek(at + 1) == ':' => {
                at += 2;
                token = Some("::".to_owned());
            }
            c => {
                at += 1;
                token = (!c.is_whitespace()).then(|| c.to_string());
            }
        }
        found.extend(token.map(|text| Token { line, text }));
        line += chars[from..at.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// Behind the string whose quote is at `from`; `hashes` are those of a raw string.
fn string_end(chars: &[char], from: usize, hashes: Option<usize>) -> usize {
    let mut at = from + 1;
    while at < chars.len() {
        match (chars[at], hashes) {
            ('\\', None) => at += 2,
            ('"', None) => return at + 1,
            ('"', Some(n)) if chars[at + 1..].iter().take_while(|c| **c == '#').count() >= n => return at + 1 + n,
            _ => at += 1,
        }
    }
    chars.len()
}

/// How many tokens the attribute at `at` has, and whether it says `cfg(test)`; `None` where there is no attribute.
fn attribute(tokens: &[Token], at: usize) -> Option<(usize, bool)> {
    let inner = usize::from(tokens.get(at + 1).is_some_and(|t| t.text == "!"));
    if tokens.get(at)?.text != "#" || tokens.get(at + 1 + inner)?.text != "[" {
        return None;
    }
    let mut open = 0;
    let length = tokens[at..].iter().position(|t| {
        open += i32::from(t.text == "[") - i32::from(t.text == "]");
        t.text == "]" && open == 0
    })? + 1;
    let has = |word: &str| tokens[at..at + length].iter().any(|t| t.text == word);
    Some((length, has("cfg") && has("test") && !has("not")))
}

/// The tokens of `#[cfg(test)]` items, as ranges; all of them where the file itself is `#![cfg(test)]`.
fn test_items(tokens: &[Token]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some((length, test)) = attribute(tokens, at) else {
            at += 1;
            continue;
        };
        let from = at;
        at += length;
        if !test {
            continue;
        }
        if tokens[from + 1].text == "!" {
            return vec![0..tokens.len(); 1];
        }
        while let Some((length, _)) = attribute(tokens, at) {
            at += length;
        }
        let import = tokens.get(at).is_some_and(|t| t.text == "use");
        let mut open = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            open += i32::from(token.text == "{") - i32::from(token.text == "}");
            if open == 0 && (token.text == ";" || (token.text == "}" && !import)) {
                break;
            }
        }
        found.push(from..at);
    }
    found
}

fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let skip = test_items(&tokens);
    tokens.into_iter().enumerate().filter(|(i, _)| !skip.iter().any(|r| r.contains(i))).map(|(_, t)| t).collect()
}

/// The modules in files of their own that only tests compile, as paths below `src` without an extension.
fn test_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let tokens = tokens(text);
    let dir: PathBuf = modules(path).iter().collect();
    test_items(&tokens)
        .into_iter()
        .filter_map(|range| match &tokens[range] {
            [.., keyword, name, end] if keyword.text == "mod" && end.text == ";" => Some(dir.join(&name.text)),
            _ => None,
        })
        .collect()
}
