//! What another policy would have earned, from what a logging policy did: estimators, their intervals, and the gate that
//! refuses where a log cannot answer.
//!
//! Everything works on [`row::Row`]s, one for each slot that was drawn, wherever they come from: a log that was decided
//! again under a target policy, or files of somebody else's ([`files`], [`foreign`]). [`estimators`] are one small function from a
//! row to what it contributes; [`evaluation`] folds rows once, in any order but the anytime-valid interval's;
//! [`intervals`] are functions of what was folded; [`support`] says what the weights look like, and [`gate`] judges it.
//! [`slates`] are the same for the reward of several slots together. [`redecide`] makes logged decisions again, and
//! [`differences`] says where that comes out otherwise; [`target`] asks what a candidate would have drawn from instead.

pub mod anytime;
pub mod assessment;
pub mod day;
pub mod differences;
pub mod estimate;
pub mod estimators;
pub mod evaluation;
pub mod files;
pub mod foreign;
pub mod gate;
pub mod intervals;
pub mod models;
pub mod moments;
pub mod redecide;
pub mod report;
pub mod row;
pub mod slates;
pub mod slope;
pub mod support;
pub mod target;
