//! The policy's value at the likeliest distribution whose weights average to 1 (Kallus and Uehara, 2019; Karampatziakis,
//! Langford and Mineiro, 2020), in which one more weight may be anything that the design allows.
//!
//! Cressie and Read's divergence approximates it by sums; this needs every row.

/// A row: its weight and its reward.
pub type Weighed = (f64, f64);

/// The value; `least` and `most` are the weights that the design allows, `least < 1 < most`. `None` without rows.
#[must_use]
pub fn point(rows: &[Weighed], least: f64, most: f64) -> Option<f64> {
    if rows.is_empty() {
        return None;
    }
    let n = rows.len() as f64;
    let (least, most) = rows.iter().fold((least, most), |(least, most), (w, _)| (least.min(*w), most.max(*w)));
    let beta = multiplier(rows, least, most);
    // Row i has probability 1 / (n + beta (w_i - 1)).
    let per =
        |value: fn(&Weighed) -> f64| -> f64 { rows.iter().map(|row| value(row) / (n + beta * (row.0 - 1.0))).sum() };
    let missing = (1.0 - per(|(w, _)| *w)).max(0.0);
    let mean = rows.iter().map(|(_, r)| r).sum::<f64>() / n;
    Some(per(|(w, r)| w * r) + missing * mean)
}

/// Lagrange's multiplier of the weights' mean, where no probability exceeds 1 and no unseen weight would be likelier.
fn multiplier(rows: &[Weighed], least: f64, most: f64) -> f64 {
    let n = rows.len() as f64;
    let unseen = |weight: f64| if weight.is_infinite() { 0.0 } else { n / (1.0 - weight) };
    let (mut from, mut to) = (unseen(most), unseen(least));
    for (w, _) in rows {
        let edge = (n - 1.0) / (1.0 - w);
        match w {
            w if *w < 1.0 => to = to.min(edge),
            w if *w > 1.0 => from = from.max(edge),
            _ => {}
        }
    }
    // Falling in beta.
    let slope = |beta: f64| -> f64 { rows.iter().map(|(w, _)| (w - 1.0) / (n + beta * (w - 1.0))).sum() };
    if slope(from) < 0.0 {
        return from;
    }
    if slope(to) >= 0.0 {
        return to;
    }
    for _ in 0..200 {
        let middle = from + (to - from) / 2.0;
        if middle <= from || middle >= to {
            break;
        }
        if slope(middle) < 0.0 { to = middle } else { from = middle }
    }
    from + (to - from) / 2.0
}
