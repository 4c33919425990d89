//! Finds and reads golden cases, whatever file they are in.

use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Everything that was found.
pub(crate) struct Library {
    pub(crate) cases: Vec<Case>,
    /// Names of files that are not JSON.
    pub(crate) unreadable: Vec<String>,
}

/// One case.
pub(crate) struct Case {
    pub(crate) id: String,
    /// The id's leading letter.
    pub(crate) family: char,
    /// The number that follows it; 0 if none does.
    pub(crate) number: u32,
    pub(crate) keys: Map<String, Value>,
    file: PathBuf,
}

impl Library {
    /// Reads `tests/golden` and the folders of `OFFER_RANKER_GOLDEN`.
    pub(crate) fn read() -> Self {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")];
        if let Some(more) = std::env::var_os("OFFER_RANKER_GOLDEN") {
            folders.extend(std::env::split_paths(&more).filter(|folder| !folder.as_os_str().is_empty()));
        }
        let mut library = Self { cases: Vec::new(), unreadable: Vec::new() };
        for folder in folders {
            for entry in sorted_entries(&folder) {
                if entry.is_dir() && entry.join("case.json").is_file() {
                    library.read_file(&entry.join("case.json"), &name_of(&entry));
                } else if entry.extension().is_some_and(|extension| extension == "json") {
                    library.read_file(&entry, &name_of(&entry));
                }
            }
        }
        library
    }

    fn read_file(&mut self, file: &Path, name: &str) {
        let text = fs::read_to_string(file).expect("a readable golden file");
        let Ok(Value::Object(mut content)) = serde_json::from_str(&text) else {
            self.unreadable.push(name.to_owned());
            return;
        };
        let named = |value: Value, name: &str| {
            let Value::Object(keys) = value else { panic!("{name} in {} is no object", file.display()) };
            let id = keys.get("id").and_then(Value::as_str).unwrap_or(name).to_owned();
            Case::new(id, keys, file)
        };
        match content.remove("cases") {
            Some(Value::Object(cases)) => self.cases.extend(cases.into_iter().map(|(id, case)| named(case, &id))),
            Some(Value::Array(cases)) => self.cases.extend(cases.into_iter().map(|case| named(case, name))),
            Some(other) => panic!("cases of {} are {other}", file.display()),
            None => self.cases.push(named(Value::Object(content), name)),
        }
    }

    /// The case whose id starts with `name`, preferably of the same file.
    pub(crate) fn named(&self, name: &str, near: &Case) -> Option<&Case> {
        let matches = |case: &&Case| case.id.starts_with(name);
        let same_file = |case: &&Case| case.file == near.file && matches(case);
        self.cases.iter().find(same_file).or_else(|| self.cases.iter().find(matches))
    }
}

impl Case {
    fn new(id: String, keys: Map<String, Value>, file: &Path) -> Self {
        let family = id.chars().next().unwrap_or(' ');
        let digits: String = id.chars().skip(1).take_while(char::is_ascii_digit).collect();
        Self { family, number: digits.parse().unwrap_or(0), id, keys, file: file.to_owned() }
    }
}

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A number; numbers written as strings count.
pub(crate) fn number(value: &Value) -> f64 {
    let parsed = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    parsed.unwrap_or_else(|| panic!("{value} is no number"))
}

/// A list of numbers.
pub(crate) fn vector(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(number).collect()
}

/// A list of lists of numbers.
pub(crate) fn matrix(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(vector).collect()
}

/// Words about a case, and measurements of how the reference was made or other algorithms fare: nothing to reproduce.
pub(crate) fn is_remark(key: &str, value: &Value) -> bool {
    const PREFIXES: [&str; 10] =
        ["note", "rule", "source", "mc", "quadrature_", "sum", "max_", "cond", "sherman", "naive"];
    value.is_string() && !value.as_str().is_some_and(|text| text.starts_with("as "))
        || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || ["id", "family", "tolerance", "seed", "digits", "n", "d"].contains(&key)
}
