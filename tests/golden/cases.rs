//! Finds and reads golden cases, whatever file they are in.

use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Everything that was found.
pub(crate) struct Library {
    pub(crate) cases: Vec<Case>,
    /// What could not be read, and why: each is a failure, for a case may be lost in it.
    pub(crate) unreadable: Vec<String>,
    folders: Vec<PathBuf>,
}

/// One case.
pub(crate) struct Case {
    pub(crate) id: String,
    /// The id's leading letter.
    pub(crate) family: char,
    /// The number that follows it; 0 if none does.
    pub(crate) number: u32,
    pub(crate) keys: Map<String, Value>,
    /// The file it stands in, and the folder that was asked for: other cases are looked for there first.
    file: PathBuf,
    folder: PathBuf,
}

impl Library {
    /// Reads `tests/golden`, `../shared/golden` and the folders of `OFFER_RANKER_GOLDEN`.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut folders = vec![root.join("tests/golden")];
        folders.extend(Some(root.join("../shared/golden")).filter(|folder| folder.is_dir()));
        if let Some(more) = std::env::var_os("OFFER_RANKER_GOLDEN") {
            folders.extend(std::env::split_paths(&more).filter(|folder| !folder.as_os_str().is_empty()));
        }
        Self::of(&folders)
    }

    /// Reads these folders. One without any case is unreadable: its name may be mistyped.
    pub(crate) fn of(folders: &[PathBuf]) -> Self {
        let mut library = Self { cases: Vec::new(), unreadable: Vec::new(), folders: folders.to_vec() };
        for folder in folders {
            let found = library.cases.len() + library.unreadable.len();
            for entry in sorted_entries(folder) {
                let file = if entry.is_dir() { entry.join("case.json") } else { entry.clone() };
                let is_case = file.is_file() && file.extension().is_some_and(|extension| extension == "json");
                if is_case && let Err(why) = library.read_file(folder, &file, &name_of(&entry)) {
                    library.unreadable.push(format!("{}: {why}", file.display()));
                }
            }
            if library.cases.len() + library.unreadable.len() == found {
                library.unreadable.push(format!("{}: no case was found", folder.display()));
            }
        }
        library
    }

    /// The file of this name, or of it gzipped, that a case refers to: beside it, or in the folders that were read.
    pub(crate) fn file(&self, name: &str, near: &Case) -> Option<PathBuf> {
        let beside = near.file.parent().map(Path::to_owned);
        let folders = beside.into_iter().chain([near.folder.clone()]).chain(self.folders.iter().cloned());
        let candidates = folders.flat_map(|folder| [folder.join(name), folder.join(format!("{name}.gz"))]);
        candidates.into_iter().find(|file| file.is_file())
    }

    fn read_file(&mut self, folder: &Path, file: &Path, name: &str) -> Result<(), String> {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let mut content: Map<String, Value> =
            serde_json::from_str(&quoted(&text)).map_err(|error| error.to_string())?;
        let named: Vec<(String, Value)> = match content.remove("cases") {
            Some(Value::Object(cases)) => cases.into_iter().collect(),
            Some(Value::Array(cases)) => cases.into_iter().map(|case| (name.to_owned(), case)).collect(),
            Some(_) => return Err("its cases are neither a list nor an object".to_owned()),
            None => vec![(name.to_owned(), Value::Object(content))],
        };
        for (name, case) in named {
            match case {
                Value::Object(keys) => self.cases.push(Case::new(&name, keys, folder, file)),
                _ => self.unreadable.push(format!("{}: {name} is no object", file.display())),
            }
        }
        Ok(())
    }

    /// The case of this id, or whose id goes on after it with an underscore; of the same file or else folder if it is
    /// there, for other folders may have other cases of the same names.
    pub(crate) fn named(&self, name: &str, near: &Case) -> Option<&Case> {
        let matches = |id: &str| id.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        let nearness = |case: &&Case| (case.file == near.file, case.folder == near.folder);
        self.cases.iter().rev().filter(|case| matches(&case.id)).max_by_key(nearness)
    }
}

impl Case {
    /// The file it stands in.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    pub(crate) fn key_names(&self) -> String {
        self.keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    fn new(name: &str, keys: Map<String, Value>, folder: &Path, file: &Path) -> Self {
        let id = keys.get("id").and_then(Value::as_str).unwrap_or(name).to_owned();
        let family = id.chars().next().unwrap_or(' ');
        let digits: String = id.chars().skip(1).take_while(char::is_ascii_digit).collect();
        Self { family, number: digits.parse().unwrap_or(0), id, keys, file: file.to_owned(), folder: folder.to_owned() }
    }
}

/// Python writes numbers that JSON does not have; as strings they can be read.
fn quoted(text: &str) -> String {
    let mut inside = false;
    let parts = text.split('"').map(|part| {
        // A quote after a backslash, of which there is an odd number, does not end a string.
        let is_escaped = inside && part.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1;
        let part = match inside {
            true => part.to_owned(),
            false => part.replace("NaN", "\"NaN\"").replace("Infinity", "\"Infinity\"").replace("-\"", "\"-"),
        };
        inside = inside == is_escaped;
        part
    });
    parts.collect::<Vec<_>>().join("\"")
}

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    // A folder that cannot be read has no cases, which is reported.
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
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

/// Words about a case, and measurements of how the reference was made: nothing to reproduce.
///
/// Only by their exact names, so that an expectation of a name nobody thought of is not passed over.
pub(crate) fn is_remark(key: &str) -> bool {
    const REMARKS: [&str; 25] = [
        "id",
        "title",
        "family",
        "note",
        "rule",
        "comment",
        "source",
        "reference",
        "generated_by",
        "script",
        "tolerance",
        "seed",
        "digits",
        "n",
        "d",
        "mc",
        "mc_max_abs_z",
        "sum",
        "sum_minus_1",
        "quadrature_refinement_diff",
        "max_gap_marginals",
        "max_abs_gap",
        // How badly an input is conditioned, beside ill-conditioned regressions.
        "cond",
        "condition",
        "condition_number",
    ];
    REMARKS.contains(&key)
}
