//! Offer Ranker ranks the offers of a subscription business for one user at one placement, learns from what users do,
//! and can prove afterwards what it did.
//!
//! # The tour
//!
//! [`engine`] is pure: [`engine::decide::decide`] turns a snapshot, a request, a time and a seed into a decision. It
//! computes the probability of every eligible offer first, applies every bound to those probabilities, and draws from
//! exactly those. [`engine::ledger`] judges what clients report afterwards, and [`engine::learn`] folds it into
//! sufficient statistics, from which [`engine::posterior`] derives what is believed next.
//!
//! [`log`] has the records of the one append-only log, [`store`] keeps them, [`service`] puts engine and store
//! together into use cases, [`grpc`] is the door, [`cli`] the command line. [`catalog`] reads what experimenters
//! write. [`replay`] says what another policy would have earned. [`ops`] is the port of whoever operates it, [`meters`]
//! what they can measure. [`clock`] is the only place that tells time and draws entropy, [`lock`] what keeps two
//! processes from writing to the same files.
//!
//! # A catalog is checked as a whole
//!
//! ```
//! let problems = offer_ranker::catalog::check("tiny.yaml", "reward_currency: EURO\nofers: []\n").unwrap_err();
//! let said = problems.to_string();
//! assert!(said.starts_with("tiny.yaml:1:18: reward_currency: "));
//! assert!(said.contains("tiny.yaml:2:1: ofers: "));
//! ```
//!
//! # The probabilities come first
//!
//! ```
//! use offer_ranker::engine::{bounds::projection::Polytope, pmf::{distribution::ScoreDistribution, serving::thompson_pmf}, slate};
//!
//! let conversion = |alpha, beta| ScoreDistribution::Beta { alpha, beta, scale: 1.0 };
//! let policy = thompson_pmf(&[conversion(12.0, 88.0), conversion(15.0, 85.0), conversion(9.0, 91.0)]);
//! let bounded = Polytope::of_floors(vec![0.1, 0.1, 0.1]).project(&policy).expect("floors of 0.3 leave room");
//! let drawn = slate::draw(&bounded, slate::uniform(42, 1));
//! println!("arm {drawn}, drawn with probability {}", bounded[drawn]);
//! # assert!((bounded.iter().sum::<f64>() - 1.0).abs() < 1e-12);
//! ```

pub mod catalog;
pub mod cli;
pub mod clock;
pub mod engine;
pub mod grpc;
pub mod lock;
pub mod log;
pub mod meters;
pub mod ops;
pub mod proto;
pub mod replay;
pub mod service;
pub mod store;
