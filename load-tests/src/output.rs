//! How drivers show what they do and what came of it.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, Write};

/// A result that people read as tables.
pub(crate) trait Report: Serialize {
    /// Writes it as Markdown.
    fn write_markdown(&self, out: &mut impl Write) -> io::Result<()>;
}

/// Prints a result as one JSON object, or as tables.
pub(crate) fn print(report: &impl Report, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report)?;
        writeln!(out)?;
    } else {
        report.write_markdown(out)?;
    }
    Ok(())
}

/// A bar that counts `total` of `noun`, with a message. On standard error, and only where that is a terminal.
pub(crate) fn progress_bar(total: u64, noun: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = format!("{{bar:40}} {{pos}}/{{len}} {noun}, {{per_sec}}, {{eta}} left, {{msg}}");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}
