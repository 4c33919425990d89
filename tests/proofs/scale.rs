//! How much of a long proof runs: CI takes a seeded tenth, `OFFER_RANKER_PROOFS=all` takes everything; and a word
//! for those who watch.

/// Whether everything is asked for.
fn all() -> bool {
    std::env::var_os("OFFER_RANKER_PROOFS").is_some_and(|asked| asked == "all")
}

/// `full` where everything is asked for, otherwise its tenth.
pub(crate) fn tenth_of(full: u64) -> u64 {
    if all() { full } else { full / 10 }
}

/// Figures for whoever runs a proof with `--nocapture`.
#[expect(clippy::print_stderr, reason = "tests have no other place to say what they measured, or that they did not")]
pub(crate) fn tell(words: &str) {
    eprintln!("{words}");
}
