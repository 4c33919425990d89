//! What a model had learned at a past posterior version: the log folded again up to its offsets.

use super::{Result, contexts::Lessons, log_source::LogSource};
use crate::{
    engine::{catalog::Placement, learn::PartitionStatistics},
    log::outline::LogOutline,
    store::LogId,
};
use std::collections::{BTreeMap, VecDeque};

/// States that are kept of a partition to go back to: instances learn a little apart from each other.
const STATES_KEPT: usize = 8;

/// One model's statistics, going forward through the logs of its placement. Going back is possible, and may mean to start
/// over.
pub struct Refold<'a, Source: ?Sized> {
    source: &'a Source,
    partitions: BTreeMap<u16, Partition>,
}

struct Partition {
    log: LogId,
    /// Where its log ends.
    end: u64,
    /// The latest states, the last of them last.
    states: VecDeque<State>,
}

#[derive(Clone, Default)]
struct State {
    offset: u64,
    statistics: PartitionStatistics,
}

impl<'a, Source: LogSource + ?Sized> Refold<'a, Source> {
    /// Nothing folded yet of a placement's logs, each with its end.
    #[must_use]
    pub fn of(source: &'a Source, logs: &[(LogId, u64)]) -> Self {
        let partition = |&(log, end): &(LogId, u64)| (log.partition, Partition { log, end, states: VecDeque::new() });
        Self { source, partitions: logs.iter().map(partition).collect() }
    }

    /// The statistics of every partition when so many records of each were folded in; `None` where a log does not reach
    /// that far. `placement` is any image of the placement that has the model.
    ///
    /// # Errors
    /// Where the source cannot be read.
    pub async fn at(&mut self, placement: &Placement, offsets: &[u64]) -> Result<Option<Vec<PartitionStatistics>>> {
        let mut statistics = Vec::with_capacity(offsets.len());
        for (partition, &offset) in (0..).zip(offsets) {
            match self.partitions.get_mut(&partition) {
                Some(partition) if offset <= partition.end => {
                    statistics.push(partition.at(self.source, placement, offset).await?);
                }
                None if offset == 0 => statistics.push(PartitionStatistics::default()),
                Some(_) | None => return Ok(None),
            }
        }
        Ok(Some(statistics))
    }
}

impl Partition {
    async fn at<Source: LogSource + ?Sized>(
        &mut self,
        source: &Source,
        placement: &Placement,
        offset: u64,
    ) -> Result<PartitionStatistics> {
        let before = self.states.iter().rev().find(|state| state.offset <= offset);
        let mut state = before.cloned().unwrap_or_default();
        while state.offset < offset {
            let records = source.read_before(self.log, state.offset, offset).await?;
            let outlines = LogOutline::decode_all(&records)?;
            let lessons = Lessons::of(source, placement, (self.log, state.offset), &outlines).await?;
            lessons.fold(&mut state.statistics);
            state.offset += records.len() as u64;
        }
        let statistics = state.statistics.clone();
        self.keep(state);
        Ok(statistics)
    }

    fn keep(&mut self, state: State) {
        if self.states.iter().any(|kept| kept.offset == state.offset) {
            return;
        }
        if self.states.len() == STATES_KEPT {
            self.states.pop_front();
        }
        let place = self.states.partition_point(|kept| kept.offset < state.offset);
        self.states.insert(place, state);
    }
}
