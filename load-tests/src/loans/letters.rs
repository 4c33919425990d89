//! The letters: what was known of the customer, the rate that was offered, and what came of it.

use crate::replay::{Customer, attributes, truth};
use anyhow::{Context as _, bail, ensure};
use flate2::read::GzDecoder;
use prost_types::value::Kind;
use serde::Deserialize;
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

/// The offers, by rate.
const OFFERS: [&str; 4] = ["up_to_5_50", "up_to_7_75", "up_to_9_75", "up_to_11_75"];
/// Their largest monthly rates in percent. Every cap of a risk class ends a band.
const RATES_MAX: [f64; 4] = [5.50, 7.75, 9.75, 11.75];
/// Risk classes and how many bands their caps leave: 7.75, 9.75 and 11.75 percent a month.
const CLASSES: [(&str, usize); 3] = [("LOW", 2), ("MEDIUM", 3), ("HIGH", 4)];
const WAVES: usize = 3;

#[derive(Debug, Deserialize)]
struct Line {
    risk: String,
    wave: usize,
    offer4: f64,
    age: f64,
    /// Loans so far; unknown for 224 customers, who count as having none.
    trcount: Option<f64>,
    dormancy: f64,
    lastamount: f64,
    itcscore: f64,
    appscore: f64,
    edhi: f64,
    female: u8,
    rural: f64,
    tookup: u8,
    grossinterest: Option<f64>,
}

/// Reads a gzipped file of letters. The 632 letters whose rate broke the cap of their class are left out: no policy that
/// keeps to the rule could have sent them.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<Customer>> {
    let file =
        File::open(path).with_context(|| format!("cannot read {}; name the file with --data", path.display()))?;
    read(GzDecoder::new(file)).with_context(|| format!("{} is not as expected", path.display()))
}

fn read(csv: impl Read) -> anyhow::Result<Vec<Customer>> {
    let mut letters = Vec::new();
    for (index, line) in csv::Reader::from_reader(csv).deserialize().enumerate() {
        letters.extend(letter(line?).with_context(|| format!("letter {}", index + 1))?);
    }
    Ok(letters)
}

/// `None` where the rate breaks the cap.
fn letter(line: Line) -> anyhow::Result<Option<Customer>> {
    let Some(class) = CLASSES.iter().position(|(name, _)| *name == line.risk) else {
        bail!("risk \"{}\" is none of LOW, MEDIUM and HIGH", line.risk);
    };
    ensure!((1..=WAVES).contains(&line.wave), "wave {} is none of 1 to {WAVES}", line.wave);
    let eligible = &OFFERS[..CLASSES[class].1];
    let band = RATES_MAX.iter().position(|rate_max| line.offer4 <= *rate_max);
    let Some(logged) = band.and_then(|band| eligible.get(band)) else { return Ok(None) };
    let interest = line.grossinterest.unwrap_or(0.0);
    ensure!(interest.is_finite() && interest >= 0.0, "interest {interest} is no amount");
    let kinds = [
        ("risk", Kind::StringValue(line.risk)),
        ("age", Kind::NumberValue(line.age)),
        ("loans", Kind::NumberValue(line.trcount.unwrap_or(0.0))),
        ("dormancy", Kind::NumberValue(line.dormancy)),
        ("last_amount", Kind::NumberValue(line.lastamount)),
        ("bureau_score", Kind::NumberValue(line.itcscore)),
        ("lender_score", Kind::NumberValue(line.appscore)),
        ("educated", truth(line.edhi as u8)?),
        ("rural", truth(line.rural as u8)?),
    ];
    let take_up = (line.tookup == 1).then_some(("take_up", 1.0));
    let outcomes = take_up.into_iter().chain((interest > 0.0).then_some(("interest", interest))).collect();
    ensure!(line.female <= 1, "female {} is neither 0 nor 1", line.female);
    let stratum = class * WAVES + line.wave - 1;
    let protected = BTreeMap::from([("female".to_owned(), if line.female == 1 { "yes" } else { "no" }.to_owned())]);
    Ok(Some(Customer { attributes: attributes(kinds), protected, logged, eligible, stratum, outcomes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "risk,wave,offer4,age,trcount,dormancy,lastamount,itcscore,appscore,edhi,female,rural,tookup,grossinterest\n";

    #[test]
    fn a_line_becomes_a_customer_with_the_offers_of_the_class() {
        let text = format!("{HEADER}MEDIUM,2,7.77,32.25,,3,600.0,601,36.0,0,1,1.0,1,55.5\n");
        let letters = read(text.as_bytes()).unwrap();
        let [Customer { attributes, protected, logged: "up_to_9_75", eligible, stratum: 4, outcomes }] =
            letters.as_slice()
        else {
            panic!("{letters:?}");
        };
        assert_eq!(*eligible, ["up_to_5_50", "up_to_7_75", "up_to_9_75"]);
        assert_eq!(outcomes[..], [("take_up", 1.0), ("interest", 55.5)]);
        assert_eq!(attributes["loans"].kind, Some(Kind::NumberValue(0.0)));
        assert_eq!(protected["female"], "yes");
        assert_eq!(attributes["rural"].kind, Some(Kind::BoolValue(true)));
    }

    #[test]
    fn rates_above_the_cap_of_the_class_are_left_out() {
        let line = |risk: &str, rate: f64| format!("{HEADER}{risk},1,{rate},32,1,3,600,601,36,0,0,0,0,\n");
        let count = |risk, rate| read(line(risk, rate).as_bytes()).unwrap().len();
        assert_eq!((count("LOW", 7.75), count("LOW", 7.77)), (1, 0));
        assert_eq!((count("MEDIUM", 9.75), count("MEDIUM", 9.99)), (1, 0));
        assert_eq!((count("HIGH", 11.75), count("HIGH", 12.0)), (1, 0));
    }

    #[test]
    fn a_wrong_line_is_named() {
        let text = format!("{HEADER}SOME,1,7.5,32,1,3,600,601,36,0,0,0,0,\n");
        let error = format!("{:#}", read(text.as_bytes()).unwrap_err());
        assert_eq!(error, "letter 1: risk \"SOME\" is none of LOW, MEDIUM and HIGH");
    }
}
