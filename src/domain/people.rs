//! Lists of people: e-mail addresses, separated by commas (`data-contract` 3).

use std::collections::BTreeSet;

/// Reads a list. Addresses are compared in lower case; `~` stands for nobody, since a parameter cannot be empty.
pub fn people(list: &str) -> BTreeSet<String> {
    let address = |text: &str| text.trim().to_lowercase();
    list.split(',').map(address).filter(|text| !text.is_empty() && text != "~").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_same_in_any_case_and_space() {
        let read: Vec<String> = people("Dev@example.com, ops@example.com,,dev@example.com ").into_iter().collect();
        assert_eq!(read, ["dev@example.com", "ops@example.com"]);
        assert!(people("~").is_empty() && people("").is_empty());
    }
}
