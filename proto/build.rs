//! Compiles the contract without a system `protoc`, and lists its calls.

use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=mailmend");
    let files = [
        "mailmend/v1/common.proto",
        "mailmend/v1/agent.proto",
        "mailmend/v1/operator.proto",
        "mailmend/v1/simulation.proto",
        "mailmend/v1/trail.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    let folder = std::env::var("OUT_DIR")?;
    let folder = Path::new(&folder);
    std::fs::write(folder.join("rpc.rs"), calls(&descriptors)?)?;
    // For reflection: tools learn the contract from the controller itself.
    let bytes = prost::Message::encode_to_vec(&descriptors);
    std::fs::write(folder.join("descriptors.bin"), bytes)?;
    // Maps in the order of their keys: the same message has the same bytes each time.
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}

/// An enum with one variant for each call. Whoever matches on it without a wildcard does not build
/// when a call is added.
fn calls(descriptors: &prost_types::FileDescriptorSet) -> Result<String, std::fmt::Error> {
    let mut found = Vec::new();
    for file in &descriptors.file {
        for service in &file.service {
            for call in &service.method {
                let variant = format!("{}{}", service.name(), call.name());
                let path = format!("/{}.{}/{}", file.package(), service.name(), call.name());
                found.push((variant, path));
            }
        }
    }
    let mut text = String::from(
        "/// Every call of the contract.\n\
         #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]\npub enum Rpc {\n",
    );
    for (variant, path) in &found {
        writeln!(text, "    /// `{path}`\n    {variant},")?;
    }
    text.push_str("}\n\nimpl Rpc {\n    /// All of them, in the order of the contract's files.\n    pub const ALL: &'static [Self] = &[");
    for (variant, _) in &found {
        write!(text, "Self::{variant}, ")?;
    }
    text.push_str("];\n\n    /// Its path in HTTP/2.\n    #[must_use]\n    pub const fn path(self) -> &'static str {\n        match self {\n");
    for (variant, path) in &found {
        writeln!(text, "            Self::{variant} => \"{path}\",")?;
    }
    text.push_str("        }\n    }\n}\n");
    Ok(text)
}
