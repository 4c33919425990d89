//! Who may know whom: the table of modules, held to what the files say.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What a module may use of this crate. Test modules at the foot of files may use what they like.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("engine", &["engine"]),
    ("clock", &["engine"]),
    ("proto", &["engine"]),
    ("catalog", &["catalog", "engine", "proto"]),
    // What logs and decisions are called is the store's, and what statistics are stored as: see below.
    ("log", &["engine", "lock", "log", "proto", "store"]),
    ("store", &["engine", "lock", "log", "meters", "store"]),
    ("lock", &[]),
    ("meters", &[]),
    // The catalog is one message for file, wire and store, so the use cases of the catalog decode it.
    ("service", &["catalog", "clock", "engine", "log", "meters", "proto", "replay", "service", "store"]),
    ("grpc", &["catalog", "engine", "grpc", "log", "meters", "proto", "service"]),
    ("replay", &["engine", "log", "replay"]),
    ("ops", &["meters", "ops", "service"]),
    (
        "cli",
        &["catalog", "cli", "clock", "engine", "grpc", "log", "meters", "ops", "proto", "replay", "service", "store"],
    ),
];

/// Words that must not stand in the code of a module.
const NEVER_SAYS: [(&str, &[&str]); 9] = [
    (
        "engine",
        &[
            "tokio",
            "tonic",
            "prost",
            "redis",
            "rusqlite",
            "async fn",
            "std::env",
            "SystemTime",
            "rand::rng",
            "metrics::",
            "tracing",
        ],
    ),
    ("catalog", &["tokio", "tonic", "rusqlite", "redis", "SystemTime"]),
    ("log", &["tokio", "tonic", "rusqlite", "redis", "SystemTime"]),
    ("store", &["tonic", "prost", "SystemTime"]),
    ("service", &["tonic", "rusqlite", "redis", "SystemTime"]),
    ("grpc", &["rusqlite", "redis", "SystemTime"]),
    ("replay", &["tokio", "tonic", "prost", "rusqlite", "redis", "SystemTime", "async fn"]),
    ("ops", &["tonic", "rusqlite", "redis", "SystemTime"]),
    ("meters", &["tokio", "tonic", "SystemTime"]),
];

/// Files of a module with their code: no comments, no tests.
fn code_of(module: &str) -> Vec<(PathBuf, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join(module).with_extension("rs")];
    let mut directories = vec![source.join(module)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("the directory can be read").path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files.retain(|path| path.is_file() && path.extension().is_some_and(|extension| extension == "rs"));
    assert!(!files.is_empty(), "there is no module {module}");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("the file can be read");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String =
            code.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        (path, code)
    };
    files.into_iter().map(read).collect()
}

/// The modules of this crate that code names after `crate::`, in braces too.
fn modules_used(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        for branch in branches(path) {
            let name: String = branch.trim_start().chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
            used.insert(name);
        }
    }
    used.remove("");
    used
}

/// `a::{..}, b` of `{a::{..}, b}`; everything of what is not in braces.
fn branches(path: &str) -> Vec<&str> {
    let Some(inside) = path.strip_prefix('{') else { return vec![path] };
    let (mut depth, mut start, mut branches) = (0, 0, Vec::new());
    for (index, letter) in inside.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                branches.push(&inside[start..index]);
                start = index + 1;
                if letter == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    branches
}

#[test]
fn modules_use_only_what_their_ring_may_know() {
    for (module, allowed) in MAY_USE {
        for (path, code) in code_of(module) {
            let foreign: Vec<_> =
                modules_used(&code).into_iter().filter(|used| !allowed.contains(&used.as_str())).collect();
            assert!(foreign.is_empty(), "{} uses {foreign:?}; {module} may use {allowed:?}", path.display());
        }
    }
}

#[test]
fn modules_do_not_say_what_belongs_elsewhere() {
    for (module, words) in NEVER_SAYS {
        for (path, code) in code_of(module) {
            let said: Vec<_> = words.iter().filter(|word| code.contains(**word)).collect();
            assert!(said.is_empty(), "{} says {said:?}", path.display());
        }
    }
}

#[test]
fn the_log_knows_of_the_store_only_what_it_writes_into() {
    for (path, code) in code_of("log") {
        for used in code.split("store::").skip(1) {
            let names = used.strip_prefix('{').map_or(used, |used| used.split('}').next().unwrap_or_default());
            let names: Vec<_> = names.split(|c: char| !c.is_alphanumeric()).filter(|name| !name.is_empty()).collect();
            let names = if used.starts_with('{') { &names[..] } else { &names[..1] };
            let foreign = names.iter().any(|name| !["DecisionKey", "LogId", "StoredStatistics"].contains(name));
            assert!(!foreign, "{} uses {names:?} of the store", path.display());
        }
    }
}

#[test]
fn only_the_embedded_backend_speaks_sql() {
    for (path, code) in code_of("store") {
        let embedded = path.components().any(|component| component.as_os_str() == "embedded");
        assert!(embedded || !code.contains("rusqlite"), "{}", path.display());
    }
}

#[test]
fn only_the_redis_backend_speaks_to_redis() {
    for (path, code) in code_of("store") {
        let backend = path.components().any(|component| component.as_os_str() == "redis");
        assert!(backend || !code.contains("redis::"), "{}", path.display());
    }
}

#[test]
fn use_cases_know_no_wire_type_but_the_catalog() {
    for (path, code) in code_of("service") {
        let allowed = path.ends_with("service/catalog.rs");
        assert!(allowed || !code.contains("proto::") && !code.contains("prost"), "{}", path.display());
    }
}
