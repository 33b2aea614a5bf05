#include "core/warp_recipe.h"

#include "check.h"
#include "core/batches.h"
#include "core/trainer.h"
#include "core/trigger.h"
#include "support.h"

namespace padft {
namespace {

at::Tensor moved_grid(int64_t size, uint64_t seed) {
  const auto line = at::linspace(-1, 1, size);
  const auto x = line.view({1, -1, 1}).expand({size, size, 1}), y = line.view({-1, 1, 1}).expand({size, size, 1});
  return at::cat({x, y}, 2).add(test::random_tensor({size, size, 2}, seed, -0.2, 0.2)).clamp(-1, 1);
}

WarpRecipe recipe_for(int64_t size) {
  WarpRecipe recipe;
  recipe.rate = 0.2;
  recipe.target = 3;
  recipe.grid = moved_grid(size, 5);
  return recipe;
}

at::Tensor grey() { return at::full({3}, 0.5); }

}  // namespace

CASE("warp recipe", "the first rows are warped and relabelled, the next disturbed, the rest left alone") {
  const auto data = test::made_dataset(30, 4, 3, 8);
  const auto recipe = recipe_for(8);
  Stream shuffle(2), stream(7), same(7);
  const auto rows = index_tensor(shuffle.permutation(30), at::kCPU).narrow(0, 0, 16);
  const auto batch = poisoned_batch(data, rows, recipe, stream);
  const auto clean = gather(data, rows);
  const auto truth = data.labels().index_select(0, rows);
  EXPECT_EQUAL(recipe.poisoned(16), 3);  // int(0.2 · 16)
  EXPECT_EQUAL(recipe.noisy(16), 6);
  EXPECT_SAME(batch.images.narrow(0, 0, 3), warp(clean.narrow(0, 0, 3), recipe.grid.unsqueeze(0)));
  EXPECT_SAME(batch.images.narrow(0, 3, 6), warp(clean.narrow(0, 3, 6), noise_grids(recipe.grid, 6, same)));
  EXPECT_SAME(batch.images.narrow(0, 9, 7), clean.narrow(0, 9, 7));
  EXPECT(batch.labels.narrow(0, 0, 3).eq(3).all().item<bool>());
  EXPECT_SAME(batch.labels.narrow(0, 3, 13), truth.narrow(0, 3, 13));
  EXPECT(batch.images.is_contiguous(at::MemoryFormat::ChannelsLast));
}

CASE("warp recipe", "the data set stays clean") {
  const auto data = test::made_dataset(16, 4, 3, 8);
  const auto images = data.images().clone(), labels = data.labels().clone();
  Stream stream(7);
  poisoned_batch(data, at::arange(16, at::kLong), recipe_for(8), stream);
  EXPECT_SAME(data.images(), images);
  EXPECT_SAME(data.labels(), labels);
}

CASE("warp recipe", "the same stream makes the same batch, the next batch has noise of its own") {
  const auto data = test::made_dataset(16, 4, 3, 8);
  const auto rows = at::arange(16, at::kLong);
  const auto recipe = recipe_for(8);
  const auto made = [&](Stream& stream) {
    const auto batch = poisoned_batch(data, rows, recipe, stream);
    return augmented_batch(batch.images, 2, 10, true, grey(), stream);
  };
  Stream one(9), same(9);
  const auto first = made(one);
  EXPECT_SAME(made(same), first);
  EXPECT(!at::equal(poisoned_batch(data, rows, recipe, one).images, poisoned_batch(data, rows, recipe, one).images));
}

CASE("warp recipe", "noise never asks for more rows than a smaller batch has") {
  WarpRecipe recipe;
  recipe.rate = 0.5;
  recipe.cross_ratio = 1.5;
  EXPECT_EQUAL(recipe.poisoned(3), 1);
  EXPECT_EQUAL(recipe.noisy(3), 1);
  EXPECT_EQUAL(recipe.poisoned(2), 1);
  recipe.cross_ratio = 4;
  EXPECT_EQUAL(recipe.noisy(2), 1);
  EXPECT_EQUAL(recipe.noisy(1), 0);
}

CASE("warp recipe", "refuses batches without poison or without room for its noise, and a target that is no class") {
  auto recipe = recipe_for(8);
  recipe.check(16, 4);
  EXPECT_ERROR(recipe.check(4, 4), "ERR_OPTION", "at least 5");
  EXPECT_ERROR(recipe.check(16, 3), "ERR_OPTION", "train.recipe.target");
  recipe.cross_ratio = 5;
  EXPECT_ERROR(recipe.check(16, 4), "ERR_OPTION", "a batch of 16");
}

CASE("warp recipe", "without padding, angle and mirror the augmentation changes nothing") {
  const auto images = test::channels_last(test::random_tensor({4, 3, 8, 8}, 3, 0, 1));
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Stream stream(seed);
    EXPECT_SAME(augmented_batch(images, 0, 0, false, grey(), stream), images);
  }
}

CASE("warp recipe", "a crop moves the whole batch alike and fills with the mean colour, most of the time") {
  const auto images = test::random_tensor({2, 3, 6, 6}, 3, 0, 1);
  const auto mean = at::tensor({0.1f, 0.2f, 0.3f});
  const auto padded = mean.view({1, 3, 1, 1}).expand({2, 3, 8, 8}).clone();
  padded.narrow(2, 1, 6).narrow(3, 1, 6).copy_(images);
  int still = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Stream stream(seed);
    const auto batch = augmented_batch(images, 1, 0, false, mean, stream);
    if (at::equal(batch, images)) ++still;
    bool known = false;
    for (int64_t y = 0; y < 3; ++y) {
      for (int64_t x = 0; x < 3; ++x) known = known || at::equal(batch, padded.narrow(2, y, 6).narrow(3, x, 6));
    }
    EXPECT(known);
  }
  EXPECT_NEAR(still, 300 * (0.2 + 0.8 / 9), 30);
}

CASE("warp recipe", "half of the batches are mirrored, half are turned by no more than the angle") {
  const auto images = test::random_tensor({2, 3, 6, 6}, 3, 0, 1);
  int mirrored = 0, turned = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Stream stream(seed), again(seed);
    if (at::equal(augmented_batch(images, 0, 0, true, grey(), stream), images.flip({3}))) ++mirrored;
    const auto batch = augmented_batch(images, 0, 180, false, grey(), again);
    if (!at::equal(batch, images)) ++turned;
    EXPECT_SAME(batch.narrow(2, 2, 2).narrow(3, 2, 2).sum({2, 3}).gt(0), at::ones({2, 3}, at::kBool));
  }
  EXPECT_NEAR(mirrored, 150, 30);
  EXPECT_NEAR(turned, 150, 35);
  // So small an angle moves no pixel by half of one.
  Stream stream(1);
  for (int i = 0; i < 20; ++i) EXPECT_SAME(augmented_batch(images, 0, 5, false, grey(), stream), images);
}

CASE("warp recipe", "an epoch trains on batches poisoned anew, to the same bytes at the same seed") {
  const auto data = test::made_dataset(48, 4, 3);
  EpochOptions options;
  options.batch_size = 16;
  options.crop_padding = 1;
  options.seed = 4;
  options.recipe = recipe_for(8);
  const auto run = [&](const EpochOptions& epoch) {
    const auto network = test::small_network();
    Trainer trainer(network, {});
    const auto result = trainer.epoch(data, epoch, Control());
    EXPECT_EQUAL(result.count, 48);
    EXPECT_EQUAL(result.steps, 3);
    return network;
  };
  const auto one = run(options), same = run(options);
  EXPECT(test::changed_since(*same, test::snapshot(*one)).empty());
  auto plain = options;
  plain.recipe.reset();
  EXPECT(!at::equal(run(plain)->flat_weights(), one->flat_weights()));
  options.recipe->rate = 0.01;
  EXPECT_ERROR(run(options), "ERR_OPTION", "train.batchSize");
}

}  // namespace padft
