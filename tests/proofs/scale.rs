//! How much of a long proof runs: CI takes a seeded tenth, `OFFER_RANKER_PROOFS=all` takes everything.

/// Whether everything is asked for.
pub(crate) fn all() -> bool {
    std::env::var_os("OFFER_RANKER_PROOFS").is_some_and(|asked| asked == "all")
}

/// `full` where everything is asked for, otherwise its tenth.
pub(crate) fn tenth_of(full: u64) -> u64 {
    if all() { full } else { full / 10 }
}
