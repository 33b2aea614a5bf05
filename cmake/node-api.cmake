# CMAKE_JS_INC: the folders of node_api.h and napi.h. cmake-js passes it; a plain cmake run takes node_modules'.
if(NOT CMAKE_JS_INC)
  set(CMAKE_JS_INC "${CMAKE_CURRENT_SOURCE_DIR}/node_modules/node-api-headers/include"
    "${CMAKE_CURRENT_SOURCE_DIR}/node_modules/node-addon-api")
  foreach(_dir IN LISTS CMAKE_JS_INC)
    if(NOT IS_DIRECTORY "${_dir}")
      message(FATAL_ERROR "${_dir} is missing: run `npm ci`, or pass -DCMAKE_JS_INC=<node_api.h's folder>;<napi.h's folder>.")
    endif()
  endforeach()
endif()
