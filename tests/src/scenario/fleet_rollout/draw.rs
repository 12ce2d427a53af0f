//! Which sites of a fleet are faulty, and of what: drawn from the seed.

use crate::scenario::{Options, SCENARIOS, Scenario};
use crate::world::SiteSpec;

/// The articles of a fleet with enough faulty sites, at least.
const ARTICLES: usize = 3;

/// The variants that are drawn of each scenario: those in which the mail service can run at the end. What is
/// mended stands before what comes to rest as it should.
const VARIANTS: [(&str, &[&str]); 5] = [
    ("stuck-outbound", &["stale", "stale", "false-success"]),
    ("stuck-message", &["out", "in", "store", "mta"]),
    ("corrupt-message", &["crash", "unlogged"]),
    ("sent-not-removed", &["scanner", "scanner", "cannot"]),
    ("silent-loss", &["inbound", "inbound", "outbound"]),
];

/// The builds of which sites are that nothing is wrong with.
const BUILDS: [&str; 2] = ["5.0.1458.49", "5.5.2653.13"];

/// A faulty site.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ill {
    /// Its index.
    pub(super) site: usize,
    /// What is wrong.
    pub(super) scenario: &'static Scenario,
    /// What varies that.
    pub(super) variant: &'static str,
}

/// Draws `faulty` of `sites` sites, in order. At least three articles are among them where there are as many
/// faulty sites; whether it is four or all five is drawn too.
pub(super) fn faulty(seed: u64, sites: usize, faulty: usize) -> Vec<Ill> {
    let mut random = fastrand::Rng::with_seed(seed ^ 0x666c_6565);
    let mut all: Vec<usize> = (0..sites).collect();
    random.shuffle(&mut all);
    let mut articles = SCENARIOS.to_vec();
    random.shuffle(&mut articles);
    articles.truncate(random.usize(ARTICLES..=SCENARIOS.len()));
    let mut ill: Vec<Ill> = all
        .into_iter()
        .take(faulty)
        .enumerate()
        .map(|(number, site)| {
            let scenario = match articles.get(number) {
                Some(scenario) => scenario,
                None => articles[random.usize(..articles.len())],
            };
            let variants = drawn_variants(scenario);
            let variant = variants[random.usize(..variants.len())];
            Ill {
                site,
                scenario,
                variant,
            }
        })
        .collect();
    ill.sort_by_key(|one| one.site);
    ill
}

fn drawn_variants(scenario: &Scenario) -> &'static [&'static str] {
    let found = VARIANTS.iter().find(|(name, _)| *name == scenario.name);
    found.map_or(&scenario.variants[..1], |(_, variants)| variants)
}

/// A site in which nothing is wrong, of one build or another.
pub(super) fn healthy(seed: u64, site: usize) -> SiteSpec {
    let mut random = fastrand::Rng::with_seed(seed ^ (site as u64) << 16 ^ 0x7765_6c6c);
    SiteSpec {
        build: BUILDS[random.usize(..BUILDS.len())].to_owned(),
        ..SiteSpec::well()
    }
}

/// How a site is played by itself, as part of a whole: mail and what is bad of it follow from its own seed.
pub(super) fn ward(whole: &Options, site: usize, ill: Option<&Ill>) -> Options {
    let messages = whole.messages / whole.sites
        + usize::from(site < whole.messages.checked_rem(whole.sites).unwrap_or(0));
    Options {
        seed: whole.seed.wrapping_mul(1_000).wrapping_add(site as u64),
        messages,
        sites: 1,
        variant: ill.map(|ill| ill.variant.to_owned()),
        waited_before: true,
        ..whole.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn seven_faulty_sites_have_at_least_three_articles_and_some_seed_has_all_five() {
        let mut most = 0;
        for seed in 0..40 {
            let ill = faulty(seed, 20, 7);
            let sites: BTreeSet<usize> = ill.iter().map(|one| one.site).collect();
            assert_eq!(sites.len(), 7, "seed {seed}");
            assert!(sites.iter().all(|site| *site < 20));
            let articles: BTreeSet<&str> = ill.iter().map(|one| one.scenario.article).collect();
            assert!(articles.len() >= 3, "seed {seed}: {articles:?}");
            most = most.max(articles.len());
            let again = faulty(seed, 20, 7);
            let of = |ill: &[Ill]| -> Vec<_> {
                ill.iter()
                    .map(|one| (one.site, one.scenario.name, one.variant))
                    .collect()
            };
            assert_eq!(of(&ill), of(&again), "the same seed draws the same");
        }
        assert_eq!(most, SCENARIOS.len());
    }

    #[test]
    fn every_variant_that_is_drawn_is_one_of_its_scenario() {
        for scenario in SCENARIOS {
            assert!(VARIANTS.iter().any(|(name, _)| *name == scenario.name));
            for variant in drawn_variants(scenario) {
                assert_eq!(scenario.variant(Some(variant)), Ok(*variant));
            }
        }
    }

    #[test]
    fn the_messages_of_all_sites_are_as_many_as_were_asked_for() {
        let whole = Options {
            sites: 7,
            messages: 100,
            ..Options::default()
        };
        let sent: usize = (0..7).map(|site| ward(&whole, site, None).messages).sum();
        assert_eq!(sent, 100);
    }
}
