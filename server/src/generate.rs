//! Manual pages and completions for shells, for packages: `my-rng-server generate FOLDER`, in builds
//! with the feature of that name. All is made of the command line's own description.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

/// The name of the subcommand.
const NAME: &str = "generate";
const PROGRAM: &str = "my-rng-server";
/// The shells, and where packages put a shell's completions below `/usr/share`.
const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions"),
    (Shell::Zsh, "zsh/vendor-completions"),
    (Shell::Fish, "fish/vendor_completions.d"),
];

/// Generates it when this process's command line says so.
pub fn when_asked() -> Option<ExitCode> {
    let words: Vec<_> = std::env::args_os().collect();
    let [_, name, folder] = &words[..] else { return None };
    let folder = Path::new(folder);
    (name == NAME).then(|| match generate(crate::cli::command(), folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PROGRAM}: cannot write to {}: {error}", folder.display());
            ExitCode::FAILURE
        }
    })
}

/// Writes everything as it lies below `/usr/share`.
fn generate(command: Command, folder: &Path) -> io::Result<()> {
    let command = command.name(PROGRAM);
    let pages = folder.join("man/man1");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(command.clone(), pages)?;
    for (shell, place) in SHELLS {
        let place = folder.join(place);
        fs::create_dir_all(&place)?;
        let made = clap_complete::generate_to(shell, &mut command.clone(), PROGRAM, &place)?;
        if shell == Shell::Bash {
            // The name that bash-completion looks for.
            fs::rename(made, place.join(PROGRAM))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The long options that a command's help names.
    fn options(command: &mut Command) -> Vec<String> {
        let help = command.render_long_help().to_string();
        let start = help.find("Options:").expect("it has options");
        let lines = help[start..].lines().map(str::trim_start);
        let words = lines.filter(|line| line.starts_with('-'));
        let words = words
            .filter_map(|line| line.split([' ', '=', ',']).find(|word| word.starts_with("--")));
        words.map(|word| word.trim_end_matches('.').to_owned()).collect()
    }

    #[test]
    fn pages_and_completions_have_every_option_of_the_help() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        generate(crate::cli::command(), folder.path()).expect("writable");
        let read = |path: &str| {
            let text = fs::read_to_string(folder.path().join(path));
            text.unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let completions = [
            read("bash-completion/completions/my-rng-server"),
            read("zsh/vendor-completions/_my-rng-server"),
            read("fish/vendor_completions.d/my-rng-server.fish"),
        ];
        let mut all = crate::cli::command().name(PROGRAM);
        all.build();
        let mut commands = vec![(PROGRAM.to_owned(), all.clone())];
        commands.extend(
            all.get_subcommands()
                .map(|command| (format!("{PROGRAM}-{}", command.get_name()), command.clone())),
        );
        for (name, mut command) in commands {
            let page = read(&format!("man/man1/{name}.1")).replace("\\-", "-");
            let options = options(&mut command);
            assert!(options.contains(&"--help".to_owned()), "{name}: {options:?}");
            for option in options {
                assert!(page.contains(&option), "{name}.1 has no {option}");
                for text in &completions {
                    let fish = format!("-l {}", option.trim_start_matches('-'));
                    assert!(text.contains(&option) || text.contains(&fish), "{name}: {option}");
                }
            }
        }
    }
}
