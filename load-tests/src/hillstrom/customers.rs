//! The customers of the test: what was known of them, what they were sent, and what they did.

use anyhow::{Context as _, bail, ensure};
use flate2::read::GzDecoder;
use prost_types::{Value, value::Kind};
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

/// One line of the data.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Customer {
    /// What was known before the mailing, as the catalog's context schema names it.
    pub(super) attributes: BTreeMap<String, Value>,
    /// Offer id of the e-mail that was sent, drawn with equal chances.
    pub(super) logged: &'static str,
    /// Whether the customer visited the shop.
    pub(super) visited: bool,
    /// Dollars spent there.
    pub(super) spend: f64,
}

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
pub(super) fn read_file(path: &Path) -> anyhow::Result<Vec<Customer>> {
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
    let attributes = kinds.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) })).into();
    Ok(Customer { attributes, logged, visited: line.visit == 1, spend: line.spend })
}

fn truth(digit: u8) -> anyhow::Result<Kind> {
    ensure!(digit <= 1, "{digit} is neither 0 nor 1");
    Ok(Kind::BoolValue(digit == 1))
}

/// The order in which `count` customers come: permutation 0 is the order of the file, every other one a shuffle that
/// depends on the seed and its own number only.
pub(super) fn order(count: usize, seed: u64, permutation: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if permutation > 0 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from(permutation));
        order.shuffle(&mut rng);
    }
    order
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
        let [Customer { attributes, logged: "womens_email", visited: true, spend: 29.99 }] = customers.as_slice()
        else {
            panic!("{customers:?}");
        };
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

    #[test]
    fn permutation_zero_is_the_order_of_the_file_and_others_are_seeded() {
        assert_eq!(order(5, 1, 0), [0, 1, 2, 3, 4]);
        let shuffled = order(100, 1, 1);
        assert_eq!(shuffled, order(100, 1, 1));
        assert!(shuffled != order(100, 1, 2) && shuffled != order(100, 2, 1) && shuffled != order(100, 1, 0));
        let mut sorted = shuffled;
        sorted.sort_unstable();
        assert_eq!(sorted, order(100, 1, 0));
    }
}
