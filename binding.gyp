# Lets `npx node-gyp rebuild` work; the build itself is CMake's (CMakeLists.txt), so flags live in one place.
# It leaves build/Release/padft.node, where the loader also looks.
#
# node-gyp wants Node's headers even to run an action, and fetches them. Without the network name the prefix that
# holds include/node/common.gypi, usually that of node itself:
#
#   npx node-gyp rebuild --nodedir="$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")"
#
# `rebuild` first removes the whole of build/, also what `npm run setup` built there.
{
  'targets': [
    {
      'target_name': 'padft',
      'type': 'none',
      'actions': [
        {
          'action_name': 'build_with_cmake',
          'message': 'Building padft.node with CMake',
          'inputs': ['<!@(node scripts/node-gyp-build.mjs --inputs)'],
          'outputs': ['<(PRODUCT_DIR)/padft.node'],
          'action': ['node', 'scripts/node-gyp-build.mjs', '<(PRODUCT_DIR)/padft.node'],
        },
      ],
    },
  ],
}
