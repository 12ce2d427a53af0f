//! What is released at once.

use mailmend_policy::name::ServerName;
use mailmend_policy::plan::Plan;

/// Consecutive steps of one server. They are released together, so a section, whose steps are
/// consecutive on one server, is always released whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group<'a> {
    /// The server.
    pub(crate) server: &'a ServerName,
    /// The index of its first step.
    pub(crate) first: u32,
    /// One more than the index of its last step.
    pub(crate) end: u32,
}

pub(crate) fn groups(plan: &Plan) -> Vec<Group<'_>> {
    plan.steps
        .chunk_by(|one, next| one.server == next.server)
        .filter_map(|steps| {
            let (first, last) = (steps.first()?, steps.last()?);
            Some(Group {
                server: &first.server,
                first: first.index,
                end: last.index + 1,
            })
        })
        .collect()
}

/// The same, but parted before each section: with maintenance windows a section is released by itself,
/// so that what comes before it takes none of its window.
pub(crate) fn parted(plan: &Plan) -> Vec<Group<'_>> {
    let opens = |index: u32| plan.sections.iter().any(|section| section.first == index);
    plan.steps
        .chunk_by(|one, next| one.server == next.server && !opens(next.index))
        .filter_map(|steps| {
            let (first, last) = (steps.first()?, steps.last()?);
            Some(Group {
                server: &first.server,
                first: first.index,
                end: last.index + 1,
            })
        })
        .collect()
}
