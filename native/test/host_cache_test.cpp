#include "core/host_cache.h"

#include <ATen/ATen.h>
#include <c10/core/impl/alloc_cpu.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <thread>
#include <vector>

#include "check.h"

namespace padft {
namespace {

at::Tensor bytes(int64_t count) { return at::empty({count}, at::kByte); }

/// The cache's limit and allocator replaced until the end of a case.
struct Replaced {
  explicit Replaced(HostMemory memory) : before(exchange_host_memory(memory)) {}
  ~Replaced() { exchange_host_memory(before); }
  HostMemory before;
};

int refusals = 0;  ///< how often `reluctant` refuses from now on
int asked = 0;

void* reluctant(size_t count) {
  ++asked;
  if (refusals > 0) {
    --refusals;
    throw std::bad_alloc();
  }
  return c10::alloc_cpu(count);
}

/// A folder that is gone after the case.
struct Folder {
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "padft-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name) << text << "\n";
  }
  std::filesystem::path path;
};

}  // namespace

CASE("host cache", "hands a freed block out again and gives it back on request") {
  auto before = bytes(1 << 20);  // taken from the allocator that was there before
  install_host_cache();
  install_host_cache();
  before = at::Tensor();
  empty_host_cache();
  EXPECT_EQUAL(host_cache_bytes(), 0u);

  auto first = bytes(1 << 20);
  void* const place = first.data_ptr();
  std::memset(place, 7, 1 << 20);
  first = at::Tensor();
  EXPECT(host_cache_bytes() >= (1u << 20));
  const auto second = bytes(1 << 20);
  EXPECT(second.data_ptr() == place);
  EXPECT_EQUAL(host_cache_bytes(), 0u);
  { const auto third = bytes(3 << 20); }
  EXPECT(host_cache_bytes() >= (3u << 20));
  empty_host_cache();
  EXPECT_EQUAL(host_cache_bytes(), 0u);
  EXPECT_EQUAL(second[5].item<int>(), 7);  // blocks in use stay
}

CASE("host cache", "blocks of one size class serve all its sizes and never one that is larger") {
  install_host_cache();
  empty_host_cache();
  const int64_t sizes[] = {1 << 16, (1 << 16) + 1, 100'000, 1 << 17, 999'999, 5'000'001};
  for (const int64_t size : sizes) {
    { const auto block = bytes(size); }
    EXPECT(host_cache_bytes() >= static_cast<size_t>(size));
    EXPECT(host_cache_bytes() <= static_cast<size_t>(size + size / 8 + 1));
    empty_host_cache();
  }
  { const auto block = bytes(1 << 20); }
  const auto kept = host_cache_bytes();
  const auto larger = bytes((1 << 20) + (1 << 18));
  std::memset(larger.data_ptr(), 1, (1 << 20) + (1 << 18));
  EXPECT_EQUAL(host_cache_bytes(), kept);
  empty_host_cache();
}

CASE("host cache", "small and empty blocks are left to the C library") {
  install_host_cache();
  empty_host_cache();
  {
    const auto small = bytes(1000), empty = bytes(0);
    EXPECT_EQUAL(small.numel() + empty.numel(), 1000);
  }
  EXPECT_EQUAL(host_cache_bytes(), 0u);
}

CASE("host cache", "blocks in use at once never overlap, from several threads") {
  install_host_cache();
  const auto work = [](uint8_t mark, bool* intact) {
    std::vector<at::Tensor> held(4);
    for (int round = 0; round < 200; ++round) {
      auto& slot = held[round % 4];
      if (slot.defined()) *intact &= slot[0].item<uint8_t>() == mark && slot[-1].item<uint8_t>() == mark;
      slot = bytes((1 << 16) + (round % 7) * 20'000);
      slot.fill_(mark);
    }
  };
  bool intact[3] = {true, true, true};
  std::vector<std::thread> threads;
  for (uint8_t i = 0; i < 3; ++i) threads.emplace_back(work, static_cast<uint8_t>(i + 1), &intact[i]);
  for (auto& thread : threads) thread.join();
  EXPECT(intact[0] && intact[1] && intact[2]);
  empty_host_cache();
}

CASE("host cache", "keeps no more than its limit") {
  install_host_cache();
  empty_host_cache();
  const Replaced replaced({size_t{3} << 20, &c10::alloc_cpu});
  {
    const auto first = bytes(1 << 20), second = bytes(1 << 20), third = bytes(2 << 20);
  }
  // Freed in reverse order: the third and one other fit.
  EXPECT_EQUAL(host_cache_bytes(), size_t{3} << 20);
  empty_host_cache();
  { const auto larger = bytes(4 << 20); }
  EXPECT_EQUAL(host_cache_bytes(), 0u);
}

CASE("host cache", "by default keeps a quarter of the memory at most, and never more than 4 GiB") {
  EXPECT_EQUAL(default_host_limit(uint64_t{2} << 30), size_t{536'870'912});
  EXPECT_EQUAL(default_host_limit(uint64_t{16} << 30), size_t{4'294'967'296});
  EXPECT_EQUAL(default_host_limit(uint64_t{512} << 30), size_t{4'294'967'296});
  EXPECT_EQUAL(default_host_limit(65'536), size_t{16'384});

  // What is in force, beside what the kernel says the machine has. Control groups may allow less.
  const auto standard = exchange_host_memory({0, &c10::alloc_cpu});
  exchange_host_memory(standard);
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kibibytes = 0;
  file >> name >> kibibytes;
  EXPECT_EQUAL(name, std::string("MemTotal:"));
  EXPECT(standard.limit > 0);
  EXPECT(standard.limit <= kibibytes * 1024 / 4);
  EXPECT(standard.limit <= size_t{4'294'967'296});
}

CASE("host cache", "is emptied when an allocation fails, which is tried once more") {
  install_host_cache();
  empty_host_cache();
  const Replaced replaced({size_t{1} << 30, &reluctant});
  { const auto kept = bytes(1 << 20); }
  EXPECT(host_cache_bytes() > 0);
  refusals = 1;
  asked = 0;
  {
    const auto block = bytes(8 << 20);
    std::memset(block.data_ptr(), 1, 8 << 20);
    EXPECT_EQUAL(asked, 2);
    EXPECT_EQUAL(host_cache_bytes(), 0u);
  }
  // Small blocks, which the cache never keeps, need its memory as much.
  EXPECT(host_cache_bytes() > 0);
  refusals = 1;
  const auto small = bytes(1000);
  EXPECT_EQUAL(host_cache_bytes(), 0u);

  refusals = 2;
  bool failed = false;
  try {
    bytes(8 << 20);
  } catch (const std::bad_alloc&) {
    failed = true;
  }
  EXPECT(failed);
  EXPECT_EQUAL(refusals, 0);
  refusals = 0;
  empty_host_cache();
}

CASE("host cache", "memory that the process may use is the machine's, or what its control groups allow") {
  const auto physical = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const Folder none;
  const auto usable = [](const Folder& folder) {
    return usable_memory((folder.path / "cgroup").string(), (folder.path / "self").string());
  };
  EXPECT_EQUAL(usable(none), physical);

  const Folder container;  // version 2, as seen from inside
  container.write("cgroup/memory.max", "max");
  EXPECT_EQUAL(usable(container), physical);
  container.write("cgroup/memory.max", "1048576");
  EXPECT_EQUAL(usable(container), 1048576u);
  container.write("cgroup/memory.max", "99999999999999999");
  EXPECT_EQUAL(usable(container), physical);

  const Folder old;  // version 1; no limit is a number near 2^63
  old.write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  EXPECT_EQUAL(usable(old), physical);
  old.write("cgroup/memory/memory.limit_in_bytes", "2097152");
  EXPECT_EQUAL(usable(old), 2097152u);
  old.write("self", "8:pids:/\n4:cpu,memory:/jobs/7");
  old.write("cgroup/memory/jobs/7/memory.limit_in_bytes", "65536");
  EXPECT_EQUAL(usable(old), 65536u);

  const Folder service;  // version 2 without a namespace: the group above allows less than the own one
  service.write("self", "0::/user.slice/run.service");
  service.write("cgroup/user.slice/run.service/memory.max", "4194304");
  EXPECT_EQUAL(usable(service), 4194304u);
  service.write("cgroup/user.slice/memory.max", "3145728");
  EXPECT_EQUAL(usable(service), 3145728u);
  service.write("self", "0::/");
  EXPECT_EQUAL(usable(service), physical);
}

}  // namespace padft
