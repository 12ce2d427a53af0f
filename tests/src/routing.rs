//! Routing: what the site's directory says, what a server's replica of it says, and the text files
//! that the MTA and the IMS write of what they have loaded.
//!
//! The routing table is an attribute in the directory that somebody has to recalculate. A server's MTA
//! writes its copy to `GWART0.MTA`; the IMS reads that at start and every now and then, and writes what
//! it has to `Route.txt`. Neither file is ever read back by whoever wrote it (Q149121).

use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::lab_error::{Attempting, LabError};
use crate::whole_file;

/// Where mail for an address space goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The address space: `SMTP:*` or `SMTP:` and a domain, which stands for its subdomains too.
    pub space: String,
    /// The lower the better among routes to one space.
    pub cost: u32,
    /// Host and port.
    pub next_hop: String,
}

/// A routing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RoutingTable(pub Vec<Route>);

impl RoutingTable {
    /// A table with one route for all Internet mail.
    #[must_use]
    pub fn everything_to(next_hop: &str) -> Self {
        Self(vec![Route {
            space: "SMTP:*".to_owned(),
            cost: 1,
            next_hop: next_hop.to_owned(),
        }])
    }

    /// The next hop for an address: the most specific space, then the lowest cost.
    #[must_use]
    pub fn next_hop(&self, address: &str) -> Option<&str> {
        let domain = address
            .rsplit_once('@')
            .map_or(address, |(_, domain)| domain);
        self.0
            .iter()
            .filter_map(|route| Some((specificity(&route.space, domain)?, route)))
            .min_by_key(|(specificity, route)| (std::cmp::Reverse(*specificity), route.cost))
            .map(|(_, route)| route.next_hop.as_str())
    }

    /// The value of the fact `ims.address-spaces` of a server with these routes. A site of the lab has routes of
    /// its own, so they are for the site.
    #[must_use]
    pub fn fact(&self) -> String {
        let spaces: Vec<String> = self
            .0
            .iter()
            .map(|route| format!("{};{};site", route.space, route.cost))
            .collect();
        spaces.join(", ")
    }

    /// The table as text: a line for each route, fields separated by tabs.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, route| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}\t{}\t{}", route.space, route.cost, route.next_hop);
            text
        })
    }

    /// Reads the text of a table.
    ///
    /// # Errors
    /// Where it has no route, or a line that is none.
    pub fn parse(text: &str) -> Result<Self, LabError> {
        let malformed = |reason: String| LabError::Malformed {
            what: "the routing table".to_owned(),
            reason,
        };
        let routes = text
            .lines()
            .map(|line| {
                let mut fields = line.split('\t');
                let route = (|| {
                    Some(Route {
                        space: fields.next()?.to_owned(),
                        cost: fields.next()?.parse().ok()?,
                        next_hop: fields.next()?.to_owned(),
                    })
                })();
                route.ok_or_else(|| malformed(format!("`{line}` is no route")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if routes.is_empty() {
            return Err(malformed("it has no route".to_owned()));
        }
        Ok(Self(routes))
    }

    /// Reads a table from a JSON file of the directory.
    ///
    /// # Errors
    /// Where it cannot be read or is not a table.
    pub fn read_directory(path: &Path) -> Result<Self, LabError> {
        let bytes = std::fs::read(path)
            .attempting(|| format!("read the directory `{}`", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| LabError::Malformed {
            what: format!("the directory `{}`", path.display()),
            reason: error.to_string(),
        })
    }

    /// Writes a table to a JSON file of the directory.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_directory(&self, path: &Path) -> Result<(), LabError> {
        whole_file::write_json(path, self)
    }
}

/// How many letters of the space fit the domain; `None` where it does not fit.
fn specificity(space: &str, domain: &str) -> Option<usize> {
    let space = space.strip_prefix("SMTP:")?;
    if space == "*" {
        return Some(0);
    }
    let (domain, space) = (domain.to_ascii_lowercase(), space.to_ascii_lowercase());
    let below = domain.strip_suffix(&space)?;
    (below.is_empty() || below.ends_with('.')).then_some(space.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> RoutingTable {
        RoutingTable::parse("SMTP:*\t5\tall:25\nSMTP:*\t1\tcheap:25\nSMTP:example.net\t9\tnet:25\n")
            .unwrap()
    }

    #[test]
    fn the_most_specific_space_wins_then_the_lowest_cost() {
        assert_eq!(table().next_hop("bob@example.net"), Some("net:25"));
        assert_eq!(table().next_hop("bob@mail.EXAMPLE.net"), Some("net:25"));
        assert_eq!(table().next_hop("bob@notexample.net"), Some("cheap:25"));
    }

    #[test]
    fn the_fact_names_each_space_with_its_cost() {
        assert_eq!(
            table().fact(),
            "SMTP:*;5;site, SMTP:*;1;site, SMTP:example.net;9;site"
        );
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(RoutingTable::parse(&table().text()).unwrap(), table());
    }

    #[test]
    fn an_empty_or_broken_table_is_refused() {
        for text in ["", "SMTP:*", "SMTP:*\tx\thost", "SMTP:*\t1"] {
            assert!(RoutingTable::parse(text).is_err(), "{text:?}");
        }
    }
}
