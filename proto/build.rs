//! Compiles the contract without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=mailmend");
    let files = [
        "mailmend/v1/common.proto",
        "mailmend/v1/agent.proto",
        "mailmend/v1/operator.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
