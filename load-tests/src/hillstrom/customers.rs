//! The customers of the test: what was known of them, what they were sent, and what they did.

use crate::replay::{Customer, attributes, truth};
use anyhow::{Context as _, bail, ensure};
use flate2::read::GzDecoder;
use prost_types::value::Kind;
use serde::Deserialize;
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

const OFFERS: [&str; 3] = ["mens_email", "womens_email", "no_email"];

#[derive(Debug, Deserialize)]
struct Line {
    recency: f64,
    history: f64,
    mens: u8,
    womens: u8,
    zip_code: String,
    newbie: u8,
    channel: String,
    segment: String,
    visit: u8,
    spend: f64,
}

/// Reads a gzipped file of customers.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<Vec<Customer>> {
    let file =
        File::open(path).with_context(|| format!("cannot read {}; name the file with --data", path.display()))?;
    read(GzDecoder::new(file)).with_context(|| format!("{} is not as expected", path.display()))
}

fn read(csv: impl Read) -> anyhow::Result<Vec<Customer>> {
    let mut reader = csv::Reader::from_reader(csv);
    let mut customers = Vec::new();
    for line in reader.deserialize() {
        customers.push(customer(line?).with_context(|| format!("customer {}", customers.len() + 1))?);
    }
    Ok(customers)
}

fn customer(line: Line) -> anyhow::Result<Customer> {
    let logged = match line.segment.as_str() {
        "Mens E-Mail" => "mens_email",
        "Womens E-Mail" => "womens_email",
        "No E-Mail" => "no_email",
        other => bail!("segment \"{other}\" is none of the three"),
    };
    ensure!(line.spend.is_finite() && line.spend >= 0.0, "spend {} is no amount", line.spend);
    let kinds = [
        ("recency", Kind::NumberValue(line.recency)),
        ("history", Kind::NumberValue(line.history)),
        ("mens", truth(line.mens)?),
        ("womens", truth(line.womens)?),
        ("zip_code", Kind::StringValue(line.zip_code)),
        ("newbie", truth(line.newbie)?),
        ("channel", Kind::StringValue(line.channel)),
    ];
    let visit = (line.visit == 1).then_some(("visit", 1.0));
    let spend = (line.spend > 0.0).then_some(("spend", line.spend));
    // Everybody was sent every e-mail with the same chance.
    let stratum = 0;
    let outcomes = visit.into_iter().chain(spend).collect();
    Ok(Customer {
        attributes: attributes(kinds),
        protected: BTreeMap::new(),
        logged,
        eligible: &OFFERS,
        stratum,
        outcomes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "recency,history_segment,history,mens,womens,zip_code,newbie,channel,segment,visit,conversion,spend\n";

    #[test]
    fn a_line_becomes_a_customer() {
        let text = format!("{HEADER}10,2) $100 - $200,142.44,1,0,Surburban,0,Phone,Womens E-Mail,1,1,29.99\n");
        let customers = read(text.as_bytes()).unwrap();
        let [Customer { attributes, logged: "womens_email", outcomes, .. }] = customers.as_slice() else {
            panic!("{customers:?}");
        };
        assert_eq!(outcomes[..], [("visit", 1.0), ("spend", 29.99)]);
        let kind = |name: &str| attributes[name].kind.clone().unwrap();
        assert_eq!(kind("history"), Kind::NumberValue(142.44));
        assert_eq!(kind("mens"), Kind::BoolValue(true));
        assert_eq!(kind("zip_code"), Kind::StringValue("Surburban".to_owned()));
        assert_eq!(attributes.len(), 7);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let text = format!("{HEADER}10,2) $100 - $200,142.44,1,0,Urban,0,Phone,Fax,1,1,29.99\n");
        let error = format!("{:#}", read(text.as_bytes()).unwrap_err());
        assert_eq!(error, "customer 1: segment \"Fax\" is none of the three");
    }
}
