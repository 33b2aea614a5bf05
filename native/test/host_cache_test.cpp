#include "core/host_cache.h"

#include <ATen/ATen.h>

#include <cstring>
#include <thread>
#include <vector>

#include "check.h"

namespace padft {
namespace {

at::Tensor bytes(int64_t count) { return at::empty({count}, at::kByte); }

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

}  // namespace padft
