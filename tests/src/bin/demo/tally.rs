//! What was posted, acknowledged and delivered, counted event by event.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use trapjaw_tests::{Delivery, Watched, quantile};

use crate::expect::{CHAT, PATHS, Places, n_matches};

/// The books. Every number of the report is in here or asked of the daemon.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Books>);

#[derive(Default)]
struct Books {
    events: HashMap<String, Entry>,
    counts: Counts,
    /// Deliveries of acknowledged events that have not arrived.
    n_to_come: usize,
    /// When, and how long after the post, each first delivery was.
    latencies: Vec<(Instant, Duration)>,
    /// From the kill to the first sign of the daemon's next life.
    outage: Option<(Instant, Instant)>,
    /// Whether the receiver answers nothing for now.
    is_silent: bool,
    /// Deliveries that came and were never answered, by event and place, with their ids.
    unanswered: HashMap<(String, usize), String>,
}

/// What is counted as it happens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) posted: usize,
    pub(crate) acknowledged: usize,
    /// Posts that were answered with an error, or not at all, and made again.
    pub(crate) posts_again: usize,
    /// Events that the daemon said it had already.
    pub(crate) duplicates_refused: u64,
    /// First deliveries.
    pub(crate) delivered: usize,
    /// Deliveries that had arrived before, under the same id.
    pub(crate) duplicates_seen: usize,
    /// Deliveries that were under way at the kill: the receiver had got them, and never answered.
    pub(crate) unanswered: usize,
    /// Those of them that came once more, and were answered.
    pub(crate) came_again: usize,
    /// Announcements that another version wrote anew after the kill.
    pub(crate) announced_anew: usize,
    /// Deliveries that had arrived before, under another id.
    pub(crate) wrong_ids: usize,
    pub(crate) bad_signatures: usize,
    /// Deliveries that no definition asks for.
    pub(crate) unexpected: usize,
    /// Announcements by language.
    pub(crate) by_rust: usize,
    pub(crate) by_javascript: usize,
    pub(crate) swaps: usize,
}

struct Entry {
    posted: Instant,
    is_acknowledged: bool,
    expected: Places,
    ids: [Option<String>; PATHS.len()],
}

impl Counts {
    /// A delivery came once more, under the same id or under another.
    fn repeated(&mut self, place: usize, is_same_id: bool) {
        match is_same_id {
            true => self.duplicates_seen += 1,
            false if place == CHAT => self.announced_anew += 1,
            false => self.wrong_ids += 1,
        }
    }
}

impl Tally {
    /// An event is posted for the first time.
    pub(crate) fn posted(&self, id: &str, expected: Places) {
        let mut books = self.lock();
        books.counts.posted += 1;
        let entry = Entry { posted: Instant::now(), is_acknowledged: false, expected, ids: Default::default() };
        books.events.insert(id.to_owned(), entry);
    }

    /// An event's post was answered with 202.
    pub(crate) fn acknowledged(&self, id: &str, n_duplicates: u64) {
        let mut books = self.lock();
        let books = &mut *books;
        books.counts.duplicates_refused += n_duplicates;
        if let Some(entry) = books.events.get_mut(id)
            && !std::mem::replace(&mut entry.is_acknowledged, true)
        {
            books.counts.acknowledged += 1;
            books.n_to_come += missing(entry).count_ones() as usize;
        }
    }

    /// Changes a count.
    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().counts);
    }

    /// The daemon was dead between these two moments.
    pub(crate) fn outage(&self, from: Instant, until: Instant) {
        self.lock().outage = Some((from, until));
    }

    /// Answers no delivery from now on, or answers again. What was not answered does not count as delivered.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.lock().is_silent = is_silent;
    }

    /// Something arrived.
    pub(crate) fn delivered(&self, delivery: &Delivery) -> Watched {
        // Parsed before the lock, because the archive's bodies are whole events.
        let body: Value = delivery.json();
        let place = PATHS.iter().position(|path| *path == delivery.path);
        let event = body["event"].as_str().or(body["id"].as_str()).unwrap_or_default();
        let mut books = self.lock();
        let Books { events, counts, latencies, n_to_come, is_silent, unanswered, .. } = &mut *books;
        counts.bad_signatures += usize::from(delivery.problem.is_some());
        let entry = events.get_mut(event);
        let (Some(place), Some(entry)) = (place, entry) else {
            counts.unexpected += 1;
            return Watched::Counted;
        };
        if entry.expected & 1 << place == 0 {
            counts.unexpected += 1;
            return Watched::Counted;
        }
        if let Some(id) = &entry.ids[place] {
            counts.repeated(place, *id == delivery.id);
            return Watched::Counted;
        }
        if *is_silent {
            counts.unanswered += 1;
            unanswered.insert((event.to_owned(), place), delivery.id.clone());
            return Watched::Unanswered;
        }
        if let Some(id) = unanswered.remove(&(event.to_owned(), place)) {
            counts.came_again += 1;
            if id != delivery.id {
                counts.repeated(place, false);
            }
        }
        entry.ids[place] = Some(delivery.id.clone());
        counts.delivered += 1;
        *n_to_come -= usize::from(entry.is_acknowledged);
        latencies.push((delivery.at, delivery.at.saturating_duration_since(entry.posted)));
        if place == CHAT {
            counts.by_rust += usize::from(body["by"] == "rust");
            counts.by_javascript += usize::from(body["by"] == "javascript");
        }
        Watched::Counted
    }

    /// The counts as they are.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// How many deliveries of acknowledged events have not arrived.
    pub(crate) fn n_to_come(&self) -> usize {
        self.lock().n_to_come
    }

    /// How many acknowledged events lack a delivery, and some of them.
    pub(crate) fn lost(&self) -> (usize, Vec<String>) {
        let books = self.lock();
        let lost = books.events.iter().filter(|(_, entry)| entry.is_acknowledged && missing(entry) != 0);
        let mut lost: Vec<String> = lost.map(|(id, entry)| format!("{id} at {:06b}", missing(entry))).collect();
        let n_lost = lost.len();
        lost.sort();
        lost.truncate(5);
        (n_lost, lost)
    }

    /// How many matches the definitions ask for, for the events that were acknowledged.
    pub(crate) fn n_matches(&self) -> u64 {
        let books = self.lock();
        let entries = books.events.values().filter(|entry| entry.is_acknowledged);
        entries.map(|entry| u64::from(n_matches(entry.expected))).sum()
    }

    /// The latency that so many of a hundred first deliveries since a moment kept.
    pub(crate) fn latency_since(&self, from: Instant, percent: usize) -> Duration {
        quantile(
            self.lock().latencies.iter().filter(|(at, _)| *at >= from).map(|(_, latency)| *latency).collect(),
            percent,
        )
    }

    /// The same for all deliveries, or for those that the kill did not touch.
    pub(crate) fn latency(&self, percent: usize, is_calm: bool) -> Duration {
        let books = self.lock();
        let is_touched = |(at, latency): &(Instant, Duration)| {
            books.outage.is_some_and(|(from, until)| *at >= from && *at - *latency <= until)
        };
        let chosen = books.latencies.iter().filter(|one| !is_calm || !is_touched(one));
        quantile(chosen.map(|(_, latency)| *latency).collect(), percent)
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(entry: &Entry) -> Places {
    let arrived = entry.ids.iter().enumerate();
    arrived.fold(entry.expected, |missing, (at, id)| if id.is_some() { missing & !(1 << at) } else { missing })
}
