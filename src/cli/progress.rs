//! How long work shows how far it is.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar up to `total`, drawn after an indicatif template. On standard error, and only where that is a terminal.
pub(super) fn bar(total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(total);
    // The bar of a template that is none is drawn in indicatif's own way.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
