//! Add-ons that packhorse can start beside tests and on a laptop.

use super::suggest::nearest;

/// A kind of add-on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddonKind {
    /// PostgreSQL, `heroku-postgresql`.
    Postgres,
    /// Redis, `heroku-redis`.
    Redis,
}

impl AddonKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::Redis];

    /// Returns the word used for it in `test.addons`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
        }
    }

    /// Returns the plan that makes it a container beside the tests; other plans are ignored there.
    #[must_use]
    pub fn in_dyno_plan(self) -> &'static str {
        match self {
            Self::Postgres => "heroku-postgresql:in-dyno",
            Self::Redis => "heroku-redis:in-dyno",
        }
    }

    /// Returns the kind whose [`in_dyno_plan`](Self::in_dyno_plan) this is.
    #[must_use]
    pub fn from_in_dyno_plan(plan: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.in_dyno_plan() == plan)
    }

    /// Returns the kind of a plan whatever its size: `heroku-redis:mini` is Redis.
    #[must_use]
    pub fn from_any_plan(plan: &str) -> Option<Self> {
        let service = plan.split(':').next().unwrap_or(plan);
        Self::ALL.into_iter().find(|kind| kind.in_dyno_plan().split(':').next() == Some(service))
    }

    /// Returns the plan that was likely meant.
    pub(super) fn nearest_plan(plan: &str) -> Option<&'static str> {
        Self::from_any_plan(plan).map(Self::in_dyno_plan).or_else(|| nearest(plan, Self::ALL.map(Self::in_dyno_plan)))
    }
}
