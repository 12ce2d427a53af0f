//! The list of fault codes: stable over releases, one meaning each.

use std::fmt;

use super::Severity;

macro_rules! codes {
    ($($variant:ident, $severity:ident, $code:literal, $meaning:literal;)+) => {
        /// Which fault a policy file has. The text (`P012-unknown-key`) is stable over releases;
        /// `P` is about the language, `L` is a rule of [`crate::lint`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultCode {
            $(#[doc = $meaning] $variant,)+
        }

        impl FaultCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// What it means, in one sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)+ }
            }

            /// How grave it is.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    NotUtf8, Error, "P001-not-utf8", "The file is not UTF-8 text.";
    TooLarge, Error, "P002-too-large", "The file has more than 1 MiB.";
    TooDeep, Error, "P003-too-deep", "Tables and arrays are nested more than 32 levels deep.";
    TooMany, Error, "P004-too-many", "There are more steps, roles, conditions or list entries than are allowed.";
    Syntax, Error, "P005-syntax", "The text is not TOML.";
    DuplicateKey, Error, "P006-duplicate-key", "A key is given twice in one table.";
    HiddenCharacter, Error, "P007-hidden-character", "An invisible, control or direction-changing character stands in the file.";
    TooManyFaults, Error, "P008-too-many-faults", "The file has more faults than are listed.";
    MissingKey, Error, "P010-missing-key", "A key that is needed is not there.";
    WrongType, Error, "P011-wrong-type", "A value is of another type than its key needs.";
    UnknownKey, Error, "P012-unknown-key", "A key is not known at this place.";
    UnknownValue, Error, "P013-unknown-value", "A value is not one of the words that its key allows.";
    OutOfRange, Error, "P014-out-of-range", "A number, duration or size is outside its range.";
    EmptyList, Error, "P015-empty-list", "A list needs at least one entry.";
    BadText, Error, "P016-bad-text", "A text is empty, too long, or has line breaks where one line is needed.";
    WrongKeys, Error, "P017-wrong-keys", "Of several keys exactly one is needed.";
    DuplicateEntry, Error, "P018-duplicate-entry", "A list has an entry twice.";
    BadName, Error, "P020-bad-name", "A name has characters or a length that its kind does not allow.";
    BadDuration, Error, "P021-bad-duration", "A text is not a duration.";
    BadSize, Error, "P022-bad-size", "A text is not a size.";
    BadSelector, Error, "P023-bad-selector", "A text is not a label selector.";
    EmptySelector, Error, "P024-empty-selector", "A selector is empty: it would select everything.";
    BadPath, Error, "P025-bad-path", "A path does not begin in a folder of Exchange, or could leave it.";
    BadVersions, Error, "P026-bad-versions", "A text is not a range of versions, or no version satisfies it.";
    UnknownSchema, Error, "P027-unknown-schema", "The file is written for another version of the language.";
    BadAddress, Error, "P028-bad-address", "A text is not a mail address.";
    BadShare, Error, "P029-bad-share", "A text is neither a number of things nor a percentage of them.";
    BadTime, Error, "P030-bad-time", "A text is not a time of day.";
    UnknownZone, Error, "P031-unknown-zone", "A text names no time zone.";
    UnknownAction, Error, "P040-unknown-action", "No such action exists.";
    DuplicateStep, Error, "P041-duplicate-step", "Two steps have one id.";
    UnknownRole, Error, "P042-unknown-role", "A role is named that `[roles]` does not define.";
    UnusedRole, Error, "P043-unused-role", "No step and no detection uses a role.";
    SeveralEachRoles, Error, "P044-several-each-roles", "More than one role is bound `each`.";
    UnknownStep, Error, "P045-unknown-step", "A step is named that does not exist.";
    LaterStep, Error, "P046-later-step", "A step refers to itself or to a step that comes later.";
    NotAQuarantine, Error, "P047-not-a-quarantine", "`of` names a step that takes nothing into custody.";
    OtherRole, Error, "P048-other-role", "A step refers to a step of another role, whose outcome its agent cannot know.";
    UnknownCondition, Error, "P049-unknown-condition", "A condition says nothing that is known.";
    ConditionNotHere, Error, "P050-condition-not-here", "A condition speaks of the run where there is none yet.";
    AnswerNotOffered, Error, "P051-answer-not-offered", "An accepted answer is not among the answers.";
    NoFolder, Error, "P052-no-folder", "The queue is not a folder of files.";
    NeverProgresses, Error, "P053-never-progresses", "The strategy could never begin, go on or end.";

    StopWhile3038, Error, "L101-stop-while-3038", "A stop lacks the `forbid` on event 3038: stopping then sends mail twice.";
    NeverStarted, Error, "L102-never-started", "A service is stopped and never started again.";
    Unobserved, Error, "L103-unobserved", "A start is not watched long enough to count.";
    LiveSpool, Error, "L104-live-spool", "Files or the queue index are touched while the service runs.";
    IndexKept, Error, "L105-index-kept", "The service starts with a queue index that does not fit its files.";
    StoreKilled, Error, "L106-store-killed", "The process of a service that holds a database is ended.";
    TooManyRestarts, Error, "L107-too-many-restarts", "The steps may start services more often than `max_restarts`.";
    OutageTooLong, Error, "L108-outage-too-long", "The timeouts of a section add up to more than `max_outage`.";
    RecalculationUnproven, Error, "L109-recalculation-unproven", "A routing recalculation is believed without a look at its result.";
    ReplayUnsettled, Error, "L110-replay-unsettled", "What is replayed is never proven delivered.";
    ClearedUnsaved, Error, "L111-cleared-unsaved", "Store folders are cleared with nothing saved before.";
    NeverTrue, Error, "L112-never-true", "Conditions contradict each other.";
    SectionInterrupted, Error, "L113-section-interrupted", "A step of another role stands inside a section.";
    StoppedTwice, Error, "L114-stopped-twice", "A service is stopped that is already stopped, or started that was not stopped.";
    KilledFirst, Error, "L115-killed-first", "A process is ended before an ordinary stop was tried.";
    PoisonPutBack, Error, "L116-poison-put-back", "Unwinding would put back mail that crashes the service.";
    SectionConditional, Error, "L117-section-conditional", "Part of a section may be skipped while the rest is carried out.";
    DependentsForgotten, Error, "L118-dependents-forgotten", "A service is stopped while the mail service that depends on it runs.";
    ReplayedTwice, Error, "L119-replayed-twice", "Everything is replayed, and then replayed again.";
    ReturnInSection, Error, "L120-return-in-section", "A point of no return stands where service is disturbed.";
    NeverDiffers, Error, "L121-never-differs", "The symptom does not depend on anything that a mending changes.";
    SearchCutShort, Error, "L122-search-cut-short", "A search would stop at its limits before it has found what it is declared for.";
    AskedInSection, Error, "L123-asked-in-section", "A person is asked while a service is down.";
    HeldForGood, Advice, "L201-held-for-good", "Mail is taken into custody and no step gives it back.";
    NoCanary, Advice, "L202-no-canary", "Everything is replayed at once, with no small batch before.";
    NotRechecked, Advice, "L203-not-rechecked", "No step looks whether the symptom is gone.";
    Unexplained, Advice, "L204-unexplained", "A tool or a person is asked to do something without a `why`.";
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for FaultCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
