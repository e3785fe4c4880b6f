// scorenet completion, scorenet man: the help in other forms.
//
//   eval "$(scorenet completion bash)"
//   scorenet man --outdir man1
#include <iostream>
#include <memory>

#include "framework/files/atomic_file.hpp"
#include "framework/files/output_guard.hpp"
#include "launch/completion.hpp"
#include "launch/known_name.hpp"
#include "launch/man_page.hpp"
#include "launch/output_options.hpp"
#include "launch/verbs.hpp"

namespace scorenet::launch {
namespace {

ExitCode write_man_pages(const CLI::App& program, const std::string& outdir) {
  files::make_output_folder({"--outdir", outdir});
  std::vector<const CLI::App*> pages = all_verbs(program);
  pages.insert(pages.begin(), &program);
  for (const CLI::App* verb : pages) {
    const HelpPage page = help_page(*verb);
    files::write_file_atomically(std::filesystem::path(outdir) / man_file_name(page),
                                 man_page(page, "scorenet " SCORENET_VERSION));
  }
  std::cout << outdir << ": " << pages.size() << " pages" << std::endl;
  return ExitCode::done;
}

}  // namespace

// `app` outlives the task: main owns both.
void add_help_verbs(CLI::App& app, Task& task) {
  const auto shell = std::make_shared<std::string>("bash");
  CLI::App* completion = app.add_subcommand("completion", "print the shell's completion");
  completion->add_option("shell", *shell, "which shell")->check(known_name({"bash"}))->required();
  completion->callback([&app, &task, shell] {  // which the option refers to
    task.action = [&app](comm::Communicators&) {
      std::cout << bash_completion(app) << std::flush;
      return ExitCode::done;
    };
  });
  const auto outdir = std::make_shared<std::string>();
  CLI::App* man = app.add_subcommand("man", "write a man page for each verb");
  add_output_option(man, "--outdir", *outdir, "folder; pages of these names are replaced")
      ->required();
  man->callback([&app, outdir, &task] {
    task.action = [&app, outdir](comm::Communicators&) { return write_man_pages(app, *outdir); };
  });
}

}  // namespace scorenet::launch
