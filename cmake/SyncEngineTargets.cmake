# Helpers of the top CMakeLists.txt: libraries and unit tests follow the folders, so that a new file needs no list.

# Flags that every target shares.
macro(sync_common_flags)
    add_compile_options(-Wall -Wextra -Wshadow -Wnon-virtual-dtor -fno-common)
    add_compile_definitions(SYNC_ENGINE_VERSION="${SYNC_ENGINE_VERSION}")
    if(WERROR)
        add_compile_options(-Werror)
    endif()
    if(SANITIZE)
        # The first finding ends the program, so that a test cannot pass over it.
        add_compile_options(-fsanitize=${SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
        add_link_options(-fsanitize=${SANITIZE})
    endif()
endmacro()

# sync_library(<name> <folder> [PUBLIC <libraries>...]): a static library of the folder's .cpp files except main.cpp; a
# header-only or empty folder becomes an interface library. Sets <name>_SCOPE for further target_* calls.
function(sync_library name folder)
    cmake_parse_arguments(arg "" "" "PUBLIC" ${ARGN})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp")
    list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
    if(sources)
        set(scope PUBLIC)
        add_library(${name} STATIC ${sources})
        set_target_properties(${name} PROPERTIES UNITY_BUILD "${SYNC_UNITY}" UNITY_BUILD_BATCH_SIZE 8)
    else()
        set(scope INTERFACE)
        add_library(${name} INTERFACE)
    endif()
    target_include_directories(${name} ${scope} "${CMAKE_CURRENT_SOURCE_DIR}/src")
    target_link_libraries(${name} ${scope} ${arg_PUBLIC})
    set(${name}_SCOPE ${scope} PARENT_SCOPE)
endfunction()

# sync_embed(<target> <function> <folder> <pattern>): the folder's files as texts in the program, see EmbedFiles.cmake.
function(sync_embed target function folder pattern)
    file(GLOB texts CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/${pattern}")
    set(output "${CMAKE_CURRENT_BINARY_DIR}/embedded/${function}.cpp")
    add_custom_command(OUTPUT "${output}"
        COMMAND "${CMAKE_COMMAND}" "-DOUTPUT=${output}" "-DNAME=${function}"
            "-DFOLDER=${CMAKE_CURRENT_SOURCE_DIR}/${folder}" "-DPATTERN=${pattern}"
            -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/EmbedFiles.cmake"
        DEPENDS ${texts} "${CMAKE_CURRENT_SOURCE_DIR}/cmake/EmbedFiles.cmake" VERBATIM)
    target_sources(${target} PRIVATE "${output}")
endfunction()

# sync_unit_tests(<folder>): one program of the folder's .cpp files. Each test file keeps what it defines in an unnamed
# namespace and its suites' names to itself.
function(sync_unit_tests folder)
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.cpp")
    add_executable(unit_tests ${sources})
    set_target_properties(unit_tests PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/unit")
    target_include_directories(unit_tests PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/test")
    target_link_libraries(unit_tests PRIVATE sync_executor_lib sync_gateway_lib GTest::gtest_main)
    # What is tested is optimised, and sanitized where that was asked for; the tests themselves need neither, which would
    # take three times as long to compile.
    target_compile_options(unit_tests PRIVATE -O0 -g1)
    if(SANITIZE)
        target_compile_options(unit_tests PRIVATE -fno-sanitize=all)
    endif()
    target_precompile_headers(unit_tests PRIVATE <gtest/gtest.h> <map> <optional> <string> <vector>)
    add_test(NAME unit_tests COMMAND unit_tests)
endfunction()
