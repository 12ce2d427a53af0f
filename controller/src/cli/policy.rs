//! `mailmend policy`: check, publish, list, show, bind, recall, schema.

mod binding;
mod recall;

use std::io::Read as _;
use std::path::Path;

use mailmend_policy::library;
use mailmend_policy::parse::{Checked, check};
use mailmend_policy::source::PolicySource;
use mailmend_proto::wire;
use serde_json::{Value, json};

use super::arguments::{Policy, PolicyRef};
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Mood, Output, Shown};
use super::view::PolicyView;
use super::when::{column, now_ms};
use crate::config::Settings;

pub(super) use binding::reaction;

/// More than any policy may have; what is beyond is not read. The check itself tells the limit.
const MOST_READ: u64 = 32 * 1024 * 1024;

pub(super) async fn run(
    command: Policy,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    match command {
        Policy::Check { files } => {
            let sources = files
                .iter()
                .map(|path| read(path))
                .collect::<Result<Vec<_>, _>>()?;
            check_all(&sources, output)
        }
        Policy::Publish { files, shipped } => {
            let mut sources = files
                .iter()
                .map(|path| read(path))
                .collect::<Result<Vec<_>, _>>()?;
            for name in shipped {
                sources.push(find_shipped(&name)?);
            }
            publish(&sources, output, settings).await
        }
        Policy::List { shipped: true } => list_shipped(output),
        Policy::List { shipped: false } => list(output, settings).await,
        Policy::Show {
            policy,
            shipped: true,
        } => show_shipped(&policy, output),
        Policy::Show {
            policy,
            shipped: false,
        } => show(policy, output, settings).await,
        Policy::Bind {
            policy,
            reaction,
            selector,
            throttle,
        } => binding::bind(policy, &reaction, selector, &throttle, output, settings).await,
        Policy::Unbind { policy } => binding::unbind(policy, output, settings).await,
        Policy::Recall {
            policy,
            article,
            why,
        } => recall::recall(policy, article, why, output, settings).await,
        Policy::Bindings => binding::list(output, settings).await,
        Policy::Schema => {
            output.text(&mailmend_policy::schema::text())?;
            Ok(Exit::Success)
        }
    }
}

fn read(path: &Path) -> Result<PolicySource, Failure> {
    let mut text = Vec::new();
    let (name, found) = if path == Path::new("-") {
        (
            "<stdin>".to_owned(),
            std::io::stdin().take(MOST_READ).read_to_end(&mut text),
        )
    } else {
        let found =
            std::fs::File::open(path).and_then(|file| file.take(MOST_READ).read_to_end(&mut text));
        (path.display().to_string(), found)
    };
    found.map_err(|why| {
        Failure::new("C031-file", format!("could not read `{name}`: {why}")).with_exit(Exit::Usage)
    })?;
    Ok(PolicySource::new(name, text))
}

fn find_shipped(name: &str) -> Result<PolicySource, Failure> {
    library::find(name).ok_or_else(|| {
        Failure::new(
            "C036-not-found",
            format!("mailmend ships no policy `{name}`"),
        )
        .with_help("`mailmend policy list --shipped` shows those that it ships")
        .with_exit(Exit::Usage)
    })
}

fn view(source: &PolicySource, checked: &Checked) -> Value {
    let policy = checked.policy.as_ref().map(|policy| {
        json!({
            "name": policy.name,
            "version": policy.version,
            "digest": source.digest(),
            "title": policy.title,
            "article": policy.source.article,
            "steps": policy.steps.len(),
        })
    });
    json!({
        "file": source.name(),
        "ok": checked.policy.is_some(),
        "policy": policy,
        "faults": checked.faults.to_json(),
    })
}

fn check_all(sources: &[PolicySource], output: &Output) -> Result<Exit, Failure> {
    let checked: Vec<Checked> = sources.iter().map(check).collect();
    let views: Vec<Value> = sources
        .iter()
        .zip(&checked)
        .map(|(source, checked)| view(source, checked))
        .collect();
    output.answer(&json!({ "files": views }), |output| {
        sources
            .iter()
            .zip(&checked)
            .map(|(source, checked)| told(source, checked, output))
            .collect()
    })?;
    let good = checked.iter().all(|checked| checked.policy.is_some());
    Ok(if good { Exit::Success } else { Exit::Usage })
}

/// Every fault with its place, then one line that sums up.
fn told(source: &PolicySource, checked: &Checked, output: &Output) -> String {
    let faults = if checked.faults.is_empty() {
        String::new()
    } else {
        checked.faults.render(output.columns(), output.paints())
    };
    let count = checked.faults.list().len();
    let sum = match &checked.policy {
        Some(policy) => {
            let advice = match count {
                0 => String::new(),
                1 => ", with 1 piece of advice".to_owned(),
                _ => format!(", with {count} pieces of advice"),
            };
            format!(
                "{}: {} version {} ({} steps, digest {}){advice}",
                output.paint("ok", Mood::Good),
                policy.name,
                policy.version,
                policy.steps.len(),
                source.digest().short(),
            )
        }
        None => format!(
            "{}: {count} {}",
            output.paint("refused", Mood::Bad),
            if count == 1 { "fault" } else { "faults" }
        ),
    };
    format!("{faults}{}: {sum}\n", super::output::clean(source.name()))
}

async fn publish(
    sources: &[PolicySource],
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    // All are checked before the first is sent.
    let checked: Vec<Checked> = sources.iter().map(check).collect();
    if checked.iter().any(|checked| checked.policy.is_none()) {
        for (source, checked) in sources.iter().zip(&checked) {
            if checked.policy.is_none() {
                anstream::eprint!("{}", told(source, checked, output));
            }
        }
        let text = "nothing was published: a policy has faults";
        return Err(Failure::new("C032-policy-refused", text).with_exit(Exit::Usage));
    }
    let controller = controller(settings)?;
    let mut published = Vec::new();
    for source in sources {
        let request = wire::PublishPolicyRequest {
            file: source.name().to_owned(),
            text: source.bytes().to_vec(),
        };
        let what = format!("publish `{}`", source.name());
        let revision = controller
            .ask(&what, request, |mut client, request| async move {
                client.publish_policy(request).await
            })
            .await?;
        published.push(PolicyView {
            text: None,
            ..PolicyView::from(&revision)
        });
    }
    output.answer(&json!({ "policies": published }), |_| {
        published
            .iter()
            .map(|policy| {
                let digest = policy.digest.get(..12).unwrap_or_default();
                format!(
                    "published {} version {} (digest {digest})\n",
                    policy.name, policy.version
                )
            })
            .collect()
    })?;
    Ok(Exit::Success)
}

async fn list(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let answer = controller(settings)?
        .ask(
            "list policies",
            wire::ListPoliciesRequest {},
            |mut client, request| async move { client.list_policies(request).await },
        )
        .await?;
    let views: Vec<PolicyView> = answer.policies.iter().map(PolicyView::from).collect();
    output.answer(&json!({ "policies": views }), |output| {
        let now = now_ms();
        let rows = answer.policies.iter().map(|policy| {
            vec![
                (&policy.name).into(),
                policy.version.into(),
                (&policy.article).into(),
                column(policy.published_ms, now).into(),
                match &policy.recall {
                    None => (&policy.title).into(),
                    Some(recall) => {
                        Shown::bad(format!("recalled by {}: {}", recall.by, recall.why))
                    }
                },
            ]
        });
        let empty = "no policies; `mailmend policy publish --shipped NAME` publishes one";
        output.table(
            &["NAME", "VERSION", "ARTICLE", "PUBLISHED", "TITLE"],
            rows.collect(),
            empty,
        )
    })?;
    Ok(Exit::Success)
}

fn list_shipped(output: &Output) -> Result<Exit, Failure> {
    let shipped: Vec<(PolicySource, Checked)> = library::all()
        .map(|source| (source.clone(), check(&source)))
        .collect();
    let views: Vec<Value> = shipped
        .iter()
        .map(|(source, checked)| view(source, checked)["policy"].clone())
        .collect();
    output.answer(&json!({ "policies": views }), |output| {
        let rows = shipped.iter().filter_map(|(_, checked)| {
            let policy = checked.policy.as_ref()?;
            Some(vec![
                (&policy.name).into(),
                policy.version.into(),
                (&policy.source.article).into(),
                (&policy.title).into(),
            ])
        });
        output.table(
            &["NAME", "VERSION", "ARTICLE", "TITLE"],
            rows.collect(),
            "none",
        )
    })?;
    Ok(Exit::Success)
}

fn show_shipped(policy: &PolicyRef, output: &Output) -> Result<Exit, Failure> {
    let source = find_shipped(&policy.name)?;
    let checked = check(&source);
    if let Some(found) = &checked.policy
        && policy.version != 0
        && policy.version != found.version
    {
        let text = format!(
            "mailmend ships version {} of `{}`",
            found.version, found.name
        );
        return Err(Failure::new("C036-not-found", text).with_exit(Exit::Usage));
    }
    if output.is_json() {
        let mut value = view(&source, &checked)["policy"].clone();
        value["text"] = String::from_utf8_lossy(source.bytes()).into();
        output.json(&value)?;
    } else {
        output.bytes(source.bytes())?;
    }
    Ok(Exit::Success)
}

async fn show(policy: PolicyRef, output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let what = format!("show policy `{}`", policy.name);
    let request = wire::GetPolicyRequest {
        name: policy.name,
        version: policy.version,
    };
    let revision = controller(settings)?
        .ask(&what, request, |mut client, request| async move {
            client.get_policy(request).await
        })
        .await?;
    if output.is_json() {
        output.json(&PolicyView::from(&revision))?;
    } else {
        output.note(&format!(
            "{} version {}, digest {}",
            revision.name,
            revision.version,
            super::view::hex(&revision.digest)
        ));
        // Parsed before it was published: no control characters.
        output.bytes(&revision.text)?;
    }
    Ok(Exit::Success)
}
