// Runs the core's tests.
//
//   padft_core_tests [TEXT]   only the cases whose "group: name" holds TEXT
//
// Prints one line a case and a closing line; exit code 1 when a case failed, 2 when TEXT names none.
#include <chrono>
#include <cstdio>

#include "check.h"

int main(int argc, char** argv) {
  using namespace padft::test;
  const std::string wanted = argc > 1 ? argv[1] : "";
  int passed = 0, failed = 0;
  for (const auto& item : cases()) {
    const auto title = padft::concat(item.group, ": ", item.name);
    if (title.find(wanted) == std::string::npos) continue;
    failures().clear();
    const auto start = std::chrono::steady_clock::now();
    try {
      item.body();
    } catch (const std::exception& error) {
      failures().push_back(padft::concat("an exception left the case: ", first_line(error)));
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    (failures().empty() ? passed : failed) += 1;
    std::printf("%-6s %s (%.2f s)\n", failures().empty() ? "ok" : "FAILED", title.c_str(), seconds);
    for (const auto& line : failures()) std::printf("         %s\n", line.c_str());
    std::fflush(stdout);
  }
  std::printf("padft_core_tests: %d passed, %d failed\n", passed, failed);
  if (passed + failed == 0) return 2;
  return failed == 0 ? 0 : 1;
}
