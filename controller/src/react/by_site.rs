//! What is asked for every site at which a symptom stands, found once.

use std::collections::BTreeMap;

use mailmend_policy::name::{PolicyName, ServerName, SiteName};

use super::known::{InHand, Known, Proposal};

/// Whose servers are in somebody's hand, and what is proposed.
#[derive(Debug)]
pub(crate) struct BySite<'k> {
    hands: BTreeMap<&'k SiteName, (&'k ServerName, &'k InHand)>,
    proposals: BTreeMap<(&'k PolicyName, &'k SiteName), &'k Proposal>,
}

impl<'k> BySite<'k> {
    pub(crate) fn of(known: &'k Known) -> Self {
        let mut hands = BTreeMap::new();
        for (name, member) in &known.fleet {
            if let Some(hand) = &member.in_hand {
                hands.entry(&member.site).or_insert((name, hand));
            }
        }
        let mut proposals = BTreeMap::new();
        for open in &known.proposals {
            proposals.entry((&open.policy, &open.site)).or_insert(open);
        }
        Self { hands, proposals }
    }

    /// A server of a site that is in somebody's hand, the first by name.
    pub(crate) fn in_hand(&self, site: &SiteName) -> Option<(&'k ServerName, &'k InHand)> {
        self.hands.get(site).copied()
    }

    /// The proposal that stands for a policy and a site.
    pub(crate) fn proposal(
        &self,
        policy: &'k PolicyName,
        site: &'k SiteName,
    ) -> Option<&'k Proposal> {
        self.proposals.get(&(policy, site)).copied()
    }
}
