//! The sample events, and orders of them.

use packhorse::domain::aws_event::{self, News};

fn text(name: &str) -> String {
    let path = format!("{}/tests/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// A sample as it is read.
pub(super) fn sample(name: &str) -> News {
    aws_event::read(&text(name)).unwrap()
}

/// What a sample would be of another, later build: its texts are replaced, and CodeBuild's builds have another id.
pub(super) fn derived(name: &str, changes: &[(&str, &str)]) -> News {
    let later = [("3f6c1d2e-8b74", "5f6c1d2e-8b74"), ("Mar 14, 2026 10:0", "Mar 14, 2026 11:0")];
    let text = changes.iter().chain(&later).fold(text(name), |text, (old, new)| text.replace(old, new));
    aws_event::read(&text).unwrap()
}

/// Every order of some news, each once: where two say the same, changing their places makes no other order.
#[derive(Clone)]
pub(super) struct Orders {
    next: Option<Vec<usize>>,
}

impl Orders {
    /// All orders of these; each item of an order is the index of one of them.
    pub(super) fn of(news: &[News]) -> Self {
        let kind = |one: &News| news.iter().position(|other| other == one).unwrap_or_default();
        let mut first: Vec<usize> = news.iter().map(kind).collect();
        first.sort_unstable();
        Self { next: Some(first) }
    }
}

impl Iterator for Orders {
    type Item = Vec<usize>;

    /// The next one in the order of a dictionary.
    fn next(&mut self) -> Option<Vec<usize>> {
        let order = self.next.take()?;
        if let Some(at) = order.windows(2).rposition(|pair| pair[0] < pair[1]) {
            let mut next = order.clone();
            let larger = next.iter().rposition(|item| *item > next[at]).unwrap_or(at);
            next.swap(at, larger);
            next[at + 1..].reverse();
            self.next = Some(next);
        }
        Some(order)
    }
}
