//! Reads and changes what lies outside the process's memory.

pub fn environment() -> usize {
    let variable = std::env::var("NOEX").is_ok() || std::env::var_os("NOEX").is_some();
    let directory = std::env::current_dir().is_ok();
    std::env::args().count() + std::env::vars().count() + usize::from(variable) + usize::from(directory)
}

pub fn files(file: &std::fs::File) -> std::io::Result<u64> {
    std::fs::write("noex", std::fs::read("noex")?)?;
    std::fs::read_to_string("noex")?;
    file.metadata().map(|metadata| metadata.len())
}

pub fn processes(command: &std::process::Command) -> u32 {
    if command.get_args().count() == 0 {
        std::process::exit(0)
    }
    if std::process::id() == 0 {
        std::process::abort()
    }
    0
}

pub fn streams(input: &std::io::Stdin) -> bool {
    std::println!("out");
    std::eprintln!("err");
    drop(input.lock());
    true
}
