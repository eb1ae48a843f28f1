//! The checker under services that grade: each one's template is run by what that service runs of it, with
//! the variables that it sets, and the checker where its image would have it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use course::pack::{self, Exercise};
use lab::paths;
use serde_yaml_ng::Value;

/// A program that does not compile: no guest has to boot for it.
const BROKEN: &str = "int main(void) { return x; }\n";
/// A shell as GitLab's runner starts it, and GitHub's in a container.
const GITLAB: [&str; 4] = ["bash", "-eo", "pipefail", "-c"];
const GITHUB: [&str; 3] = ["sh", "-e", "-c"];

type Variables = BTreeMap<String, String>;

fn template(name: &str) -> String {
    let path = paths::checkout().join("course/graders").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(name: &str) -> Value {
    serde_yaml_ng::from_str(&template(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text of a value.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => panic!("{other:?} is no text"),
    }
}

/// Variables of a template, with the checker at its place.
fn variables(values: &Value) -> Variables {
    let pairs = values.as_mapping().into_iter().flatten();
    let mut variables: Variables = pairs.map(|(name, value)| (text(name), text(value))).collect();
    let checker = variables.get_mut("CHECKER").expect("a template says where the checker is");
    *checker = paths::checkout().display().to_string();
    variables
}

/// The lines that GitHub runs in the steps of a job.
fn github_script(job: &Value) -> String {
    let steps = job["steps"].as_sequence().expect("a job has steps");
    let lines: Vec<String> =
        steps.iter().filter(|step| !step["run"].is_null()).map(|step| text(&step["run"])).collect();
    lines.join("\n")
}

fn gitlab_script(job: &Value) -> String {
    let lines = job["script"].as_sequence().expect("a job has a script");
    lines.iter().map(text).collect::<Vec<_>>().join("\n")
}

/// Runs a job's script in its folder.
fn run(shell: &[&str], script: &str, folder: &Path, variables: &Variables) -> Output {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(script).current_dir(folder).envs(variables);
    command.output().expect("there is a shell")
}

/// A student's repository is checked: the job fails, and the report says why.
fn check_repository(shell: &[&str], script: &str, variables: &Variables) {
    let repository = tempfile::tempdir().expect("a folder can be made");
    fs::write(repository.path().join("app.c"), BROKEN).expect("writable");
    let output = run(shell, script, repository.path(), variables);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = fs::read_to_string(repository.path().join("report.xml")).expect("it is written");
    let document = roxmltree::Document::parse(&report).expect("it is XML");
    let failures = document.descendants().filter(|node| node.has_tag_name("failure"));
    let messages: Vec<&str> = failures.filter_map(|node| node.attribute("message")).collect();
    assert!(messages.iter().any(|said| said.contains("app.c:1:25: error:")), "{report}");
    let points = fs::read_to_string(repository.path().join("points.json")).expect("it is written");
    let points: serde_json::Value = serde_json::from_str(&points).expect("it is JSON");
    assert_eq!((&points["total"], &points["max"]), (&0.into(), &100.into()));
}

#[test]
fn a_repository_on_gitlab_and_github_gets_its_status_and_its_report() {
    let gitlab = yaml("gitlab.yml");
    let job = &gitlab["check"];
    check_repository(&GITLAB, &gitlab_script(job), &variables(&job["variables"]));
    let github = yaml("github-classroom.yml");
    let job = &github["jobs"]["check"];
    check_repository(&GITHUB, &github_script(job), &variables(&job["env"]));
}

/// A class that needs no guest: nothing was handed in.
fn class() -> tempfile::TempDir {
    let class = tempfile::tempdir().expect("a folder can be made");
    for name in ["ann", "bob", "cleo"] {
        fs::create_dir_all(class.path().join("submissions").join(name)).expect("writable");
    }
    class
}

/// Merges reports, and checks that the table has the whole class.
fn check_table(said: &Output) {
    assert!(said.status.success(), "{said:?}");
    let table = String::from_utf8_lossy(&said.stdout);
    let names: Vec<&str> =
        table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["ann", "bob", "cleo"], "{table}");
    assert!(!table.contains("not checked"), "{table}");
}

fn merge(folder: &Path, reports: &str) -> Output {
    let checker = [("CHECKER".to_owned(), paths::checkout().display().to_string())].into();
    let script = format!("$CHECKER/scripts/check.sh --merge {reports} || [ $? = 1 ]");
    run(&GITHUB, &script, folder, &checker)
}

#[test]
fn shards_on_gitlab_and_github_are_merged() {
    let gitlab = yaml("gitlab-shards.yml");
    let github = yaml("github-shards.yml");
    let mut on_github = variables(&github["env"]);
    let job = &github["jobs"]["check"];
    assert_eq!(text(&job["env"]["SHARD"]), "${{ matrix.shard }}");
    assert_eq!(text(&job["env"]["SHARDS"]), "${{ strategy.job-total }}");
    let (gitlab_class, github_class) = (class(), class());
    for shard in ["1", "2"] {
        let mut on_gitlab = variables(&gitlab["variables"]);
        on_gitlab.insert("CI_NODE_INDEX".to_owned(), shard.to_owned());
        on_gitlab.insert("CI_NODE_TOTAL".to_owned(), "2".to_owned());
        let script = gitlab_script(&gitlab["check"]);
        let output = run(&GITLAB, &script, gitlab_class.path(), &on_gitlab);
        assert!(output.status.success(), "{output:?}");
        on_github.insert("SHARD".to_owned(), shard.to_owned());
        on_github.insert("SHARDS".to_owned(), "2".to_owned());
        let output = run(&GITHUB, &github_script(job), github_class.path(), &on_github);
        assert!(output.status.success(), "{output:?}");
    }
    let script = gitlab_script(&gitlab["merge"]);
    let on_gitlab = variables(&gitlab["variables"]);
    check_table(&run(&GITLAB, &script, gitlab_class.path(), &on_gitlab));
    let script = github_script(&github["jobs"]["merge"]);
    check_table(&run(&GITHUB, &script, github_class.path(), &on_github));
    assert!(github_class.path().join("merged/summary.csv").is_file());
}

#[test]
fn shards_of_a_slurm_array_and_a_kubernetes_job_are_merged() {
    let checker = paths::checkout().display().to_string();
    let slurm = class();
    fs::create_dir(slurm.path().join("reports")).expect("writable");
    let script = paths::checkout().join("course/graders/slurm.sh").display().to_string();
    for shard in ["1", "2"] {
        let variables = [
            ("CHECKER", checker.as_str()),
            ("SUBMISSIONS", "submissions"),
            ("REPORTS", "reports"),
            ("SLURM_ARRAY_TASK_ID", shard),
            ("SLURM_ARRAY_TASK_COUNT", "2"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let output = run(&["bash", "-c"], &script, slurm.path(), &variables);
        assert!(output.status.success(), "{output:?}");
    }
    check_table(&merge(slurm.path(), "reports/*"));

    let job = yaml("kubernetes.yaml");
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let command: Vec<String> =
        container["command"].as_sequence().expect("it has one").iter().map(text).collect();
    let of = text(&job["spec"]["completions"]);
    let pairs = container["env"].as_sequence().expect("it has some").iter();
    let mut variables: Variables =
        pairs.map(|pair| (text(&pair["name"]), text(&pair["value"]))).collect();
    assert_eq!(variables["SHARDS"], of, "there are as many shards as completions");
    variables.insert("CHECKER".to_owned(), checker);
    variables.insert("SHARDS".to_owned(), "2".to_owned());
    let kubernetes = class();
    for index in ["0", "1"] {
        variables.insert("JOB_COMPLETION_INDEX".to_owned(), index.to_owned());
        let shell: Vec<&str> = command[..command.len() - 1].iter().map(String::as_str).collect();
        let output = run(&shell, &command[command.len() - 1], kubernetes.path(), &variables);
        assert!(output.status.success(), "{output:?}");
    }
    check_table(&merge(kubernetes.path(), "reports/*"));
}

/// Gradescope's archive, unpacked.
fn unpacked(exercise: &Exercise) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let archive = folder.path().join("autograder.zip");
    pack::gradescope(&paths::checkout(), exercise, &archive).expect("it can be packed");
    let size = archive.metadata().expect("it is there").len();
    assert!(size < 32 << 20, "{size} bytes");
    let file = fs::File::open(&archive).expect("it is there");
    let mut archive = zip::ZipArchive::new(file).expect("it is an archive");
    archive.extract(folder.path().join("source")).expect("it can be unpacked");
    folder
}

#[test]
fn gradescopes_archive_has_all_that_is_built_and_no_solution() {
    let own = tempfile::tempdir().expect("a folder can be made");
    let profiles = paths::checkout().join("checker/profiles");
    for name in ["mode.toml", "mode.rs"] {
        fs::copy(profiles.join(name), own.path().join(name)).expect("writable");
    }
    let profile = own.path().join("mode.toml");
    let require = vec![checker::handed_in::Part::Device];
    let folder = unpacked(&Exercise { profile: Some(profile), require });
    let source = folder.path().join("source");
    for script in ["setup.sh", "run_autograder"] {
        let mode = source.join(script).metadata().expect("it is packed").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script}");
    }
    let options = fs::read_to_string(source.join("options")).expect("it is packed");
    assert_eq!(options, "--require=device\n--profile=profile/mode.toml");
    assert!(source.join("profile/mode.rs").is_file());
    let project = source.join("my-rng-server");
    assert!(!project.join("course/steps/06-driver/solution").exists());
    assert!(!project.join("checker/submissions").exists());
    // Cargo reads all manifests, and looks for each target that they name.
    let output = Command::new("cargo")
        .args(["metadata", "--offline", "--locked", "--format-version=1"])
        .current_dir(&project)
        .output()
        .expect("there is a cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let profile = Exercise { profile: Some("absent.toml".into()), require: Vec::new() };
    let error = pack::gradescope(&paths::checkout(), &profile, &folder.path().join("x.zip"));
    assert!(format!("{:#}", error.expect_err("there is none")).contains("absent.toml"));
}

#[test]
fn a_profile_is_packed_with_what_it_names() {
    let profile = paths::checkout().join("checker/profiles/dma.toml");
    let folder = unpacked(&Exercise { profile: Some(profile.clone()), require: Vec::new() });
    let source = folder.path().join("source");
    let options = fs::read_to_string(source.join("options")).expect("it is packed");
    let packed = source.join(options.strip_prefix("--profile=").expect("it names the profile"));
    let packed = checker::profile::Profile::read(&packed).expect("it can be read there");
    assert!(packed.device.source.expect("it names a device").is_file());
    // Elsewhere, the device would be missing.
    let elsewhere = folder.path().join("mine.toml");
    let text = fs::read_to_string(profile.with_file_name("mode.toml")).expect("readable");
    fs::write(&elsewhere, text.replace("\"mode.rs\"", "\"../mode.rs\"")).expect("writable");
    let exercise = Exercise { profile: Some(elsewhere), require: Vec::new() };
    let error = pack::gradescope(&paths::checkout(), &exercise, &folder.path().join("x.zip"));
    let error = format!("{:#}", error.expect_err("the device is missing"));
    assert!(error.contains("put the file beside the profile"), "{error}");
}

#[test]
fn gradescope_gets_a_score_and_hints_also_for_nothing() {
    let folder = unpacked(&Exercise::default());
    // As it lies in a container. What was built of the project is not built again.
    let source = folder.path().join("source");
    fs::remove_dir_all(source.join("my-rng-server")).expect("it was unpacked");
    symlink(paths::checkout(), source.join("my-rng-server")).expect("there is room");
    fs::copy(source.join("run_autograder"), folder.path().join("run_autograder"))
        .expect("it was unpacked");
    let submission = folder.path().join("submission");
    fs::create_dir(&submission).expect("writable");
    let results = || -> serde_json::Value {
        let mut command = Command::new(folder.path().join("run_autograder"));
        let output = command.current_dir("/").output().expect("it can be run");
        assert!(output.status.success(), "{output:?}");
        let text = fs::read_to_string(folder.path().join("results/results.json"));
        serde_json::from_str(&text.expect("it is written")).expect("it is JSON")
    };
    let nothing = results();
    assert_eq!(nothing["score"], 0.0);
    let hint = nothing["tests"][0]["output"].as_str().expect("there is a hint");
    assert!(hint.contains("nothing to check was handed in"), "{hint}");
    fs::write(submission.join("app.c"), BROKEN).expect("writable");
    let broken = results();
    assert_eq!(broken["tests"][0]["name"], "app-build: it compiles");
    assert_eq!(broken["tests"][0]["status"], "failed");
    let hint = broken["tests"][0]["output"].as_str().expect("there is a hint");
    assert!(hint.contains("app.c:1:25: error:"), "{hint}");
}
