//! `mailmend operator`: add, enrol, renew, whoami, list, role, revoke.

mod enrol;

use mailmend_proto::wire;
use mailmend_proto::wire::revoke_identity_request::Who;
use serde::Serialize;
use serde_json::json;

use super::arguments::Operator;
use super::controller;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Shown, clean};
use super::when::{absolute, both, column, now_ms};
use crate::config::Settings;
use crate::trust::role::Role;

pub(super) async fn run(
    command: Operator,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    match command {
        Operator::Add {
            name,
            role,
            valid,
            again,
            ca,
        } => {
            let request = wire::AddOperatorRequest {
                name,
                role: role.to_wire().into(),
                valid_seconds: valid.as_secs(),
                again,
            };
            add(request, role, ca.as_deref(), output, settings).await
        }
        Operator::Enrol(arguments) => enrol::enrol(arguments, output, settings).await,
        Operator::Renew => enrol::renew(output, settings).await,
        Operator::WhoAmI => whoami(output, settings).await,
        Operator::List => list(output, settings).await,
        Operator::Role { name, role } => set_role(name, role, output, settings).await,
        Operator::Revoke { name, why } => revoke(Who::Operator(name), why, output, settings).await,
    }
}

#[derive(Debug, Serialize)]
struct OperatorView {
    name: String,
    role: &'static str,
    added: Option<String>,
    added_by: String,
    certificate_until: Option<String>,
    revoked: Option<String>,
    revoked_by: Option<String>,
    revoked_why: Option<String>,
}

fn role_of(operator: &wire::OperatorIdentity) -> &'static str {
    Role::from_wire(operator.role).map_or("unknown", Role::name)
}

impl From<&wire::OperatorIdentity> for OperatorView {
    fn from(operator: &wire::OperatorIdentity) -> Self {
        let last = operator.revocation.as_ref();
        Self {
            name: operator.name.clone(),
            role: role_of(operator),
            added: absolute(operator.added_ms),
            added_by: operator.added_by.clone(),
            certificate_until: absolute(operator.certificate_until_ms),
            revoked: last.and_then(|last| absolute(last.at_ms)),
            revoked_by: last.map(|last| last.by.clone()),
            revoked_why: last.map(|last| last.why.clone()),
        }
    }
}

async fn add(
    request: wire::AddOperatorRequest,
    role: Role,
    ca: Option<&std::path::Path>,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let name = request.name.clone();
    let made = controller(settings)?
        .ask(
            &format!("add operator `{name}`"),
            request,
            |mut client, request| async move { client.add_operator(request).await },
        )
        .await?;
    if let Some(path) = ca {
        std::fs::write(path, &made.ca_pem).map_err(|why| {
            Failure::new(
                "C031-file",
                format!("could not write `{}`: {why}", path.display()),
            )
        })?;
    }
    let view = json!({
        "name": name,
        "role": role.name(),
        "token": made.token,
        "expires": absolute(made.expires_ms),
        "ca_pem": made.ca_pem,
    });
    output.answer(&view, |output| {
        output.pairs(vec![
            ("token", (&made.token).into()),
            ("for", format!("{name}, {role}").into()),
            ("expires", both(made.expires_ms, now_ms()).into()),
        ])
    })?;
    if !output.is_json() {
        let identity = std::path::Path::new(&settings.get("identity").value).join("ca.pem");
        let file = ca.unwrap_or(&identity).display().to_string();
        output.note(&format!(
            "it is shown this once and works once; {name} runs: mailmend operator enrol {name} --token {} --ca \
             {file} --into DIR",
            made.token
        ));
    }
    Ok(Exit::Success)
}

fn state(operator: &wire::OperatorIdentity, now_ms: i64) -> Shown {
    match (operator.certificate_until_ms, &operator.revocation) {
        (0, Some(last)) => Shown::bad(format!(
            "revoked by {}: {}",
            clean(&last.by),
            clean(&last.why)
        )),
        (0, None) => Shown::from("has not enrolled"),
        (until_ms, _) if until_ms <= now_ms => Shown::bad("certificate has ended"),
        (until_ms, _) => Shown::from(format!("may call until {}", column(until_ms, now_ms))),
    }
}

async fn list(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let answer = controller(settings)?
        .ask(
            "list operators",
            wire::ListOperatorsRequest {},
            |mut client, request| async move { client.list_operators(request).await },
        )
        .await?;
    let views: Vec<OperatorView> = answer.operators.iter().map(OperatorView::from).collect();
    output.answer(&json!({ "operators": views }), |output| {
        let now = now_ms();
        let rows = answer.operators.iter().map(|operator| {
            vec![
                (&operator.name).into(),
                role_of(operator).into(),
                state(operator, now),
                (&operator.added_by).into(),
            ]
        });
        let head = ["NAME", "ROLE", "STATE", "ADDED BY"];
        output.table(&head, rows.collect(), "no operators")
    })?;
    Ok(Exit::Success)
}

async fn whoami(output: &Output, settings: &Settings) -> Result<Exit, Failure> {
    let me = controller(settings)?
        .ask(
            "ask who you are",
            wire::WhoAmIRequest {},
            |mut client, request| async move { client.who_am_i(request).await },
        )
        .await?;
    output.answer(&OperatorView::from(&me), |output| {
        output.pairs(vec![
            ("name", (&me.name).into()),
            ("role", role_of(&me).into()),
            ("state", state(&me, now_ms())),
        ])
    })?;
    Ok(Exit::Success)
}

async fn set_role(
    name: String,
    role: Role,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let what = format!("make `{name}` {role}");
    let request = wire::SetRoleRequest {
        name,
        role: role.to_wire().into(),
    };
    let operator = controller(settings)?
        .ask(&what, request, |mut client, request| async move {
            client.set_role(request).await
        })
        .await?;
    output.answer(&OperatorView::from(&operator), |_| {
        format!(
            "{} is {} from its next call on\n",
            clean(&operator.name),
            role_of(&operator)
        )
    })?;
    Ok(Exit::Success)
}

pub(super) async fn revoke(
    who: Who,
    why: String,
    output: &Output,
    settings: &Settings,
) -> Result<Exit, Failure> {
    let (kind, name) = match &who {
        Who::Agent(name) => ("agent", name.clone()),
        Who::Operator(name) => ("operator", name.clone()),
    };
    let request = wire::RevokeIdentityRequest {
        who: Some(who),
        why,
    };
    let ended = controller(settings)?
        .ask(
            &format!("revoke {kind} `{name}`"),
            request,
            |mut client, request| async move { client.revoke_identity(request).await },
        )
        .await?;
    let view = json!({
        "kind": kind,
        "name": name,
        "certificates": ended.certificates,
        "tokens": ended.tokens,
        "connections": ended.connections,
    });
    output.answer(&view, |_| {
        format!(
            "revoked {kind} {name}: {} certificates, {} unused tokens, {} open connections\n",
            ended.certificates, ended.tokens, ended.connections
        )
    })?;
    Ok(Exit::Success)
}
