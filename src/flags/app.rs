//! How an app is named on the command line.

use std::str::FromStr;

use crate::domain::lane::LaneKey;
use crate::domain::names::InvalidName;

/// An app or review app as it is named on the command line.
#[derive(Debug, Clone)]
pub struct AppFlag(pub LaneKey);

impl FromStr for AppFlag {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text.split_once(':') {
            Some((app, pull_request)) => {
                LaneKey { app: app.parse()?, pull_request: Some(pull_request.trim_start_matches("pr/").parse()?) }
            }
            None => LaneKey::app(text.parse()?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_app_is_named_behind_a_colon() {
        assert_eq!("storefront:7".parse::<AppFlag>().unwrap().0.to_string(), "storefront:7");
        assert_eq!("storefront:pr/7".parse::<AppFlag>().unwrap().0.to_string(), "storefront:7");
        assert_eq!("shop".parse::<AppFlag>().unwrap().0, LaneKey::app("shop".parse().unwrap()));
        assert!("shop:x".parse::<AppFlag>().is_err());
    }
}
